package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/problem"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

type fixture struct {
	*Server
	registry *health.Registry
	cfg      *Settings
	addr     string
	logs     *servicetest.Buffer
}

func newFixture(t *testing.T, handler http.Handler, change func(*Settings)) *fixture {
	t.Helper()
	servicetest.NoLeaks(t)
	cfg := DefaultSettings()
	cfg.Listen = []string{"127.0.0.1:0"}
	cfg.DrainTimeout = 2 * time.Second
	if change != nil {
		change(cfg)
	}
	f := &fixture{registry: &health.Registry{}, cfg: cfg, logs: &servicetest.Buffer{}}
	f.Server = New(servicetest.TextLogger(f.logs), f.registry, func(err error) { t.Errorf("accept loop: %v", err) })
	sockets, err := f.Open(cfg.Listen, "FILE")
	if err != nil {
		t.Fatal(err)
	}
	f.Swap(NewGeneration(1, cfg, handler), sockets)
	f.addr = f.Addrs()[0].String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = f.Drain(ctx)
		if n := f.Stats().Active; n != 0 {
			t.Errorf("%d connections are counted after the drain", n)
		}
	})
	return f
}

func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) })
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// get sends a request on a connection and returns status and body.
func get(t *testing.T, c net.Conn) (*http.Response, string) {
	t.Helper()
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

func TestConnectionLimit(t *testing.T) {
	f := newFixture(t, text("ok"), func(c *Settings) { c.MaxConnections = 2 })
	first, second := dial(t, f.addr), dial(t, f.addr)
	get(t, first)
	get(t, second)
	r, body := get(t, dial(t, f.addr))
	var p problem.Details
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.Status != 503 {
		t.Errorf("body %q, %v", body, err)
	}
	if r.StatusCode != 503 || r.Header.Get("Retry-After") == "" || !r.Close || r.Header.Get("Content-Type") != problem.ContentType || r.Header.Get("X-Request-Id") != p.RequestID {
		t.Errorf("refused with %d %v", r.StatusCode, r.Header)
	}
	if s := f.Stats(); s.Active != 2 || s.Limit != 2 || s.Refused != 1 || s.Sources != 1 || s.Memory < 2*connectionBytes {
		t.Errorf("stats = %+v", s)
	}
	// At the limit the process can still test itself.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if status, got, err := f.SelfRequest(ctx, "/"); err != nil || status != 200 || string(got) != "ok" {
		t.Errorf("SelfRequest = %d %q %v", status, got, err)
	}
	first.Close()
	for deadline := time.Now().Add(2 * time.Second); f.Stats().Active > 1 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	if r, _ := get(t, dial(t, f.addr)); r.StatusCode != 200 {
		t.Errorf("after one was closed: %d", r.StatusCode)
	}
}

func TestSilentConnectionsOverTheLimitAreBounded(t *testing.T) {
	f := newFixture(t, text("ok"), func(c *Settings) {
		c.MaxConnections = 1
		c.ReadHeaderTimeout = time.Minute
	})
	get(t, dial(t, f.addr))
	var conns []net.Conn
	for range maxRefusing + 5 {
		conns = append(conns, dial(t, f.addr))
	}
	begin := time.Now()
	for _, c := range conns {
		_, _ = io.Copy(io.Discard, c)
	}
	if d := time.Since(begin); d > 8*refuseTimeout {
		t.Errorf("they were kept for %v", d)
	}
	if s := f.Stats(); s.Refused != uint64(len(conns)) {
		t.Errorf("stats = %+v", s)
	}
}

func TestSwapLetsRunningRequestsFinish(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "old")
	}), nil)
	running := dial(t, f.addr)
	answer := make(chan string, 1)
	go func() {
		_, body := get(t, running)
		answer <- body
	}()
	<-entered
	sockets, err := f.Open(f.cfg.Listen, "FILE")
	if err != nil || len(sockets.opened) != 0 {
		t.Fatalf("an address that is open was opened again: %v, %v", sockets, err)
	}
	f.Swap(NewGeneration(2, f.cfg, text("new")), sockets)
	if _, body := get(t, dial(t, f.addr)); body != "new" {
		t.Errorf("a new connection got %q", body)
	}
	close(release)
	if body := <-answer; body != "old" {
		t.Errorf("the running request got %q", body)
	}
}

func TestSwapUnderLoadLosesNoConnection(t *testing.T) {
	f := newFixture(t, text("1"), nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var requests atomic.Int64
	for range 4 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := client.Get("http://" + f.addr)
				if err != nil {
					t.Error(err)
					return
				}
				r.Body.Close()
				requests.Add(1)
			}
		})
	}
	for n := range uint64(30) {
		f.Swap(NewGeneration(n+2, f.cfg, text("x")), nil)
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	if requests.Load() == 0 {
		t.Error("no request was made")
	}
}

func TestChangeOfAddresses(t *testing.T) {
	f := newFixture(t, text("ok"), nil)
	sockets, err := f.Open([]string{"127.0.0.2:0", "127.0.0.3:0"}, "FILE")
	if err != nil {
		t.Fatal(err)
	}
	f.Swap(NewGeneration(2, f.cfg, text("ok")), sockets)
	if c, err := net.DialTimeout("tcp", f.addr, time.Second); err == nil {
		c.Close()
		t.Error("the old address still accepts")
	}
	for _, addr := range f.Addrs() {
		get(t, dial(t, addr.String()))
	}
	report := f.registry.LiveReport()
	if len(report.Checks) != 2 || report.Checks[0].Name != "loop/accept-http" || report.Checks[1].Name != "loop/accept-http-2" {
		t.Errorf("loops: %+v", report)
	}
}

func TestPortTaken(t *testing.T) {
	f := newFixture(t, text("ok"), nil)
	_, port, _ := net.SplitHostPort(f.addr)
	want := fmt.Sprintf("listen on %s: address already in use; another program holds port %s: stop it or change server.listen in FILE", f.addr, port)
	other := New(servicetest.TextLogger(io.Discard), &health.Registry{}, nil)
	if _, err := other.Open([]string{"127.0.0.1:0", f.addr}, "FILE"); err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
	if _, err := other.Open([]string{"192.0.2.1:80"}, "FILE"); err == nil || !strings.Contains(err.Error(), "listen on 192.0.2.1:80: ") {
		t.Errorf("an address of another host: %v", err)
	}
}

func TestIPv4WildcardIsNotIPv6(t *testing.T) {
	f := newFixture(t, text("ok"), func(c *Settings) { c.Listen = []string{"0.0.0.0:0"} })
	if !strings.HasPrefix(f.addr, "0.0.0.0:") {
		t.Errorf("address %s", f.addr)
	}
}

func TestSlowHeader(t *testing.T) {
	f := newFixture(t, text("ok"), func(c *Settings) { c.ReadHeaderTimeout = 100 * time.Millisecond })
	c := dial(t, f.addr)
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, _ = io.Copy(io.Discard, c)
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("kept for %v", d)
	}
}

func TestLargeHeader(t *testing.T) {
	f := newFixture(t, text("ok"), func(c *Settings) { c.MaxHeaderBytes = 4096 })
	c := dial(t, f.addr)
	go func() {
		_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 16<<10))
	}()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("response %v, %v", r, err)
	}
}

func TestDrainCutsOffWhatTakesTooLong(t *testing.T) {
	entered := make(chan struct{})
	f := newFixture(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}), nil)
	c := dial(t, f.addr)
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := f.Drain(ctx); err == nil || !strings.Contains(err.Error(), "drain_timeout") {
		t.Errorf("Drain = %v", err)
	}
}

func TestSelfRequestOfABlockedChain(t *testing.T) {
	release := make(chan struct{})
	f := newFixture(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if !IsSelf(r.Context()) {
			t.Error("not marked as our own")
		}
		<-release
	}), nil)
	defer close(release)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, _, err := f.SelfRequest(ctx, "/livez")
	if err == nil || !strings.Contains(err.Error(), "no answer in time") || time.Since(begin) > time.Second {
		t.Errorf("SelfRequest = %v after %v", err, time.Since(begin))
	}
}

func TestSelfRequestWithoutAServingGoroutine(t *testing.T) {
	s := New(servicetest.TextLogger(io.Discard), &health.Registry{}, nil)
	s.generation.Store(NewGeneration(1, DefaultSettings(), nil)) // nobody accepts
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := s.SelfRequest(ctx, "/livez"); err == nil || !strings.Contains(err.Error(), "takes no connection") {
		t.Errorf("SelfRequest = %v", err)
	}
}

// brokenListener fails like a process without file descriptors.
type brokenListener struct{ net.Listener }

func (brokenListener) SetDeadline(time.Time) error { return nil }
func (brokenListener) Accept() (net.Conn, error)   { return nil, syscall.EMFILE }

func TestAcceptThatFailsBringsNoBeat(t *testing.T) {
	servicetest.NoLeaks(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	registry, logs := &health.Registry{}, &servicetest.Buffer{}
	s := New(servicetest.TextLogger(logs), registry, func(err error) { t.Errorf("gave up: %v", err) })
	change, err := s.Adopt([]net.Listener{brokenListener{ln}})
	if err != nil {
		t.Fatal(err)
	}
	s.Swap(NewGeneration(1, DefaultSettings(), text("ok")), change)
	time.Sleep(acceptLimit + 200*time.Millisecond)
	if failed := registry.LiveReport().Failed(); !strings.HasPrefix(failed, "loop/accept-http: no beat") {
		t.Errorf("failed checks: %q", failed)
	}
	if n := strings.Count(logs.String(), "no connection can be accepted"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if err := s.Drain(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestAcceptLoopThatEndsIsReported(t *testing.T) {
	servicetest.NoLeaks(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	s := New(servicetest.TextLogger(io.Discard), &health.Registry{}, func(err error) { failed <- err })
	change, err := s.Adopt([]net.Listener{ln})
	if err != nil {
		t.Fatal(err)
	}
	s.Swap(NewGeneration(1, DefaultSettings(), text("ok")), change)
	ln.Close()
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("reported %v", err)
	}
	if err := s.Drain(context.Background()); err != nil {
		t.Error(err)
	}
}

// A request without an end of its own ends with its generation, and neither a
// reload nor a drain waits for it longer than it takes to notice.
func TestStreamsEndWithTheirGeneration(t *testing.T) {
	entered := make(chan struct{})
	stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		entered <- struct{}{}
		<-Ending(r.Context()).Done()
		if r.Context().Err() != nil {
			t.Error("the request was cut off")
		}
		_, _ = io.WriteString(w, "end")
	})
	f := newFixture(t, stream, func(c *Settings) { c.DrainTimeout = time.Minute })
	follow := func() <-chan string {
		answer := make(chan string, 1)
		c := dial(t, f.addr)
		go func() {
			_, body := get(t, c)
			answer <- body
		}()
		<-entered
		return answer
	}
	answer := follow()
	f.Swap(NewGeneration(2, f.cfg, stream), nil)
	if body := <-answer; body != "end" {
		t.Errorf("after a reload: %q", body)
	}
	answer = follow()
	f.Generation().EndStreams()
	if body := <-answer; body != "end" {
		t.Errorf("before a drain: %q", body)
	}
	if err := f.Drain(context.Background()); err != nil {
		t.Error(err)
	}
}
