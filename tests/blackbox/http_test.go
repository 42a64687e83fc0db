package blackbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOpenAPI(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	// The whole of our own document is there, whatever a product adds.
	for path, item := range ownDocument().Paths.Map() {
		for method := range item.Operations() {
			if found := doc.Paths.Find(path); found == nil || found.GetOperation(method) == nil {
				t.Errorf("%s %s is not described", method, path)
			}
		}
	}
	// What is described is there, and answers as described (see receive).
	for _, r := range resources(t) {
		if r.stream {
			continue // has no end
		}
		response := get(t, r.path)
		switch {
		case r.closed:
			if response.Status != http.StatusUnauthorized && response.Status != http.StatusForbidden {
				t.Errorf("GET %s, which is not for anyone: status %d", r.path, response.Status)
			}
		case r.ours && response.Status != http.StatusOK, response.Status >= http.StatusInternalServerError:
			t.Errorf("GET %s: status %d: %s", r.path, response.Status, response.Body)
		}
	}
}

func TestHealth(t *testing.T) {
	report := status(t).Health
	// A product's own checks may be degraded: a sensor that this machine does not have.
	outcome := "ok"
	for _, check := range report.Checks {
		if !ourCheck(check.Name) && check.Degraded {
			outcome = "degraded"
		}
	}
	// Anybody learns the outcome, and no more.
	for path, outcome := range map[string]string{"/livez": "ok", "/readyz": outcome} {
		response := get(t, path)
		if response.Status != http.StatusOK || string(response.Body) != `{"status":"`+outcome+`"}` {
			t.Errorf("%s: %d %s", path, response.Status, response.Body)
		}
	}
	if report.Status != outcome {
		t.Errorf("health %+v", report)
	}
	wanted := map[string]bool{"loop/main": true, "loop/accept-http": true, "state": true, "data": true, "config": true}
	for _, check := range report.Checks {
		delete(wanted, check.Name)
		if !check.OK && (ourCheck(check.Name) || !check.Degraded) {
			t.Errorf("check %s is not ok: %s", check.Name, check.Detail)
		}
	}
	if len(wanted) > 0 {
		t.Errorf("no checks %v in %+v", wanted, report)
	}
}

// A page of somebody else's site, whose name was made to point here, reads
// nothing; nor does one that says where it comes from.
func TestHosts(t *testing.T) {
	ask := func(path, host string, header ...string) Response {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		for i := 0; i < len(header); i += 2 {
			request.Header.Set(header[i], header[i+1])
		}
		return send(t, request)
	}
	hostname := decode[struct{ Hostname string }](t, get(t, "/api/v1/device").Body).Hostname
	for _, host := range []string{"192.0.2.1", "[2001:db8::1]:8080", "localhost", hostname, hostname + ".local:80"} {
		if response := ask("/api/v1/device", host); response.Status != http.StatusOK {
			t.Errorf("Host %q: %d %s", host, response.Status, response.Body)
		}
	}
	// Balancers ask for these by names of their own.
	health := []string{"/livez", "/readyz"}
	for _, r := range resources(t) {
		if !slices.Contains(health, r.path) {
			wantProblem(t, ask(r.path, "evil.example"), http.StatusMisdirectedRequest)
			wantProblem(t, ask(r.path, "localhost", "Origin", "http://evil.example"), http.StatusForbidden)
		} else if response := ask(r.path, "balancer.example"); response.Status != http.StatusOK {
			t.Errorf("%s: %d %s", r.path, response.Status, response.Body)
		}
	}
	configure(t, "[access]\nhosts = [\"device.example.com\"]\n")
	if response := ask("/api/v1/device", "Device.example.com:8443"); response.Status != http.StatusOK {
		t.Errorf("a configured name: %d %s", response.Status, response.Body)
	}
}

func TestVersion(t *testing.T) {
	if target.kind == "address" {
		t.Skip("which version runs at an address is not known")
	}
	type device struct {
		Service struct{ Name, Version string }
	}
	got := decode[device](t, get(t, "/api/v1/device").Body).Service
	if got.Name != program.Name || got.Version != program.Version {
		t.Errorf("/api/v1/device tells of %s %s, the recipe of %s %s", got.Name, got.Version, program.Name, program.Version)
	}
}

func TestVersionFlag(t *testing.T) {
	c := needControl(t)
	output, status := c.command(t, "", nil, "-version")
	if status != 0 || !strings.HasPrefix(output, program.Name+" "+program.Version+" (go1.") {
		t.Errorf("-version: exit status %d, %q", status, output)
	}
}

func TestHead(t *testing.T) {
	for _, r := range resources(t) {
		if r.stream || r.closed {
			continue
		}
		head, whole := fetch(t, http.MethodHead, r.path), get(t, r.path)
		if head.Status != whole.Status || r.ours && head.Status != http.StatusOK || len(head.Body) != 0 {
			t.Errorf("HEAD %s: status %d, %d bytes of body; GET %d", r.path, head.Status, len(head.Body), whole.Status)
		}
		if got, want := head.Header.Get("Content-Type"), whole.Header.Get("Content-Type"); got != want {
			t.Errorf("HEAD %s: Content-Type %q, GET has %q", r.path, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	problem := wantProblem(t, get(t, "/no/such/path"), http.StatusNotFound)
	if problem.Instance != "/no/such/path" {
		t.Errorf("instance %q", problem.Instance)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		response := fetch(t, method, "/livez")
		wantProblem(t, response, http.StatusMethodNotAllowed)
		allow := strings.FieldsFunc(response.Header.Get("Allow"), func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(allow)
		if !slices.Equal(allow, []string{http.MethodGet, http.MethodHead}) {
			t.Errorf("%s: Allow %q, want GET and HEAD", method, response.Header.Get("Allow"))
		}
	}
}

func TestRequestID(t *testing.T) {
	longest := strings.Repeat("x", 128)
	for _, id := range []string{"a", "order.66_A-7", longest} {
		if got := get(t, "/livez", "X-Request-Id", id).Header.Get("X-Request-Id"); got != id {
			t.Errorf("id %q came back as %q", id, got)
		}
	}
	seen := map[string]bool{}
	for _, id := range []string{"", "two words", longest + "x", `in"jection`, "ü"} {
		got := get(t, "/livez", "X-Request-Id", id).Header.Get("X-Request-Id")
		if got == id || !requestIDPattern.MatchString(got) || seen[got] {
			t.Errorf("invalid id %q was answered with %q", id, got)
		}
		seen[got] = true
	}
}

func TestTraceparent(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	got := get(t, "/livez", "traceparent", "00-"+trace+"-"+span+"-01").Header.Get("traceparent")
	parts := traceparentPattern.FindStringSubmatch(got)
	if parts == nil || parts[1] != trace || parts[2] == span || !strings.HasSuffix(got, "-01") {
		t.Errorf("traceparent %q: want the same trace, a span of its own, and the flag kept", got)
	}
	zeros := strings.Repeat("0", 32)
	seen := map[string]bool{trace: true, zeros: true}
	for _, invalid := range []string{
		"", "nonsense",
		"00-" + trace + "-0000000000000000-01", "00-" + zeros + "-" + span + "-01",
		"ff-" + trace + "-" + span + "-01", "00-" + strings.ToUpper(trace) + "-" + span + "-01",
		"00-" + trace + "-" + span + "-01-more",
	} {
		got := get(t, "/livez", "traceparent", invalid).Header.Get("traceparent")
		parts := traceparentPattern.FindStringSubmatch(got)
		if parts == nil || seen[parts[1]] {
			t.Errorf("invalid traceparent %q was answered with %q, want a new trace", invalid, got)
			continue
		}
		seen[parts[1]] = true
	}
}

// maxBody is server.max_body_bytes of the defaults.
const maxBody = 1 << 20

func TestOversizeContentLength(t *testing.T) {
	conn := dial(t)
	// Not one byte of the body is sent: the length alone is enough.
	write(t, conn, fmt.Sprintf("GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", maxBody+1))
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantProblem(t, receive(t, "GET", "/livez", answer), http.StatusRequestEntityTooLarge)
}

// A resource that takes no body does not wait for its end, and does not take more
// of it: the answer is the last of its connection.
func TestOversizeChunked(t *testing.T) {
	conn := dial(t)
	write(t, conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat("x", 64<<10))
	go func() {
		// No last chunk: the body has no end. The service closes while this still
		// writes.
		for range 2 * maxBody / (64 << 10) {
			if _, err := io.WriteString(conn, chunk); err != nil {
				return
			}
		}
	}()
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response := receive(t, "GET", "/livez", answer); response.Status != http.StatusOK || !answer.Close {
		t.Errorf("status %d, Connection: close is %t", response.Status, answer.Close)
	}
	if _, err := reader.ReadByte(); err == nil || isTimeout(err) {
		t.Errorf("the connection is still open: %v", err)
	}
}

func TestBodyWithinLimit(t *testing.T) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target.url+"/livez", strings.NewReader(strings.Repeat("x", maxBody)))
	if err != nil {
		t.Fatal(err)
	}
	if response := send(t, request); response.Status != http.StatusOK {
		t.Errorf("status %d for a body of max_body_bytes: %s", response.Status, response.Body)
	}
}

func TestOversizeHeader(t *testing.T) {
	conn := dial(t)
	go func() {
		_, _ = io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: "+strings.Repeat("x", 32<<10)+"\r\n\r\n")
	}()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", answer.StatusCode)
	}
}

// A client that sends its header bit by bit is cut off after
// server.read_header_timeout (5 s), however long it goes on.
func TestSlowHeaders(t *testing.T) {
	conn := dial(t)
	begin := time.Now()
	write(t, conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\n")
	closed := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		closed <- err
	}()
	for i := 0; ; i++ {
		select {
		case err := <-closed:
			took := time.Since(begin)
			if err == nil || isTimeout(err) {
				t.Fatalf("after %v: %v, want a closed connection", took, err)
			}
			if took < 4*time.Second || took > 15*time.Second {
				t.Errorf("closed after %v, read_header_timeout is 5 s", took)
			}
			return
		case <-time.After(time.Second):
			// Its failure shows in closed.
			_, _ = fmt.Fprintf(conn, "X-Slow-%d: y\r\n", i)
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestConnectionLimit(t *testing.T) {
	const limit = 4
	configure(t, fmt.Sprintf("[server]\nmax_connections = %d\nread_header_timeout = \"60s\"\nread_timeout = \"60s\"\n", limit))
	// Requests before may still be closing their connections; while they count,
	// one of those below would be refused.
	before := status(t).Connections
	eventually(t, time.Minute, "no connection but that of the question", func() bool {
		before = status(t).Connections
		return before.Active == 1
	})
	if before.Limit != limit {
		t.Fatalf("limit %d, want %d", before.Limit, limit)
	}
	// The one that asks for the status is the last that fits.
	var open []net.Conn
	connect := func() {
		conn := dial(t)
		write(t, conn, "GET /livez HTTP/1.1\r\n")
		open = append(open, conn)
	}
	for range limit - 1 {
		connect()
	}
	eventually(t, time.Minute, "the connections to be counted", func() bool {
		// The request before may still be closing its connection: then this one is refused.
		response := get(t, "/api/v1/system/status")
		return response.Status == http.StatusOK && decode[Status](t, response.Body).Connections.Active == limit
	})
	var response Response
	eventually(t, time.Minute, "a refusal", func() bool {
		// One more takes the place of the question. While that is closing, it is
		// refused itself.
		connect()
		response = get(t, "/api/v1/device")
		return response.Status != http.StatusOK
	})
	wantProblem(t, response, http.StatusServiceUnavailable)
	if response.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	for _, conn := range open {
		_ = conn.Close()
	}
	var now Status
	eventually(t, time.Minute, "the connections to be counted no more", func() bool {
		response = get(t, "/api/v1/system/status")
		if response.Status == http.StatusOK {
			now = decode[Status](t, response.Body)
		}
		return now.Connections.Active == 1
	})
	if now := now.Connections; now.RefusedTotal <= before.RefusedTotal {
		t.Errorf("refused_total is %d, was %d", now.RefusedTotal, before.RefusedTotal)
	}
}
