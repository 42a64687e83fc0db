package blackbox

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"
)

const problemType = "application/problem+json"

// client makes a connection of its own for each request: what a test sees
// depends on no connection that another one left open.
var client = &http.Client{
	Timeout:   time.Minute,
	Transport: &http.Transport{DisableKeepAlives: true},
}

// Response is one whole answer.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Problem is an error body.
type Problem struct {
	Type, Title, Detail, Instance string
	Status                        int
	RequestID                     string `json:"request_id"`
}

// Reload is the outcome of the last one.
type Reload struct {
	At    time.Time
	OK    bool
	Error string
}

// Sandbox is what confines the service, as the kernel says.
type Sandbox struct {
	Seccomp         string
	NoNewPrivs      bool `json:"no_new_privs"`
	Capabilities    string
	Namespaces      []string
	MemoryHighBytes *int64 `json:"memory_high_bytes"`
	MemoryMaxBytes  *int64 `json:"memory_max_bytes"`
	TasksMax        *int64 `json:"tasks_max"`
	Declared        []string
	Missing         []struct{ Limit, Remedy string }
}

// Status is the part of /api/v1/system/status that tests look into.
type Status struct {
	UptimeSeconds float64 `json:"uptime_seconds"`
	Service       struct{ PID int }
	Connections   struct {
		Active, Limit int
		RefusedTotal  uint64 `json:"refused_total"`
	}
	Config struct {
		Sources    []string
		Generation int
		LastReload *Reload `json:"last_reload"`
	}
	Health struct {
		Status string
		Checks []struct {
			Name, Detail string
			OK, Degraded bool
		}
	}
	Watchdog struct{ Enabled bool }
	Sandbox  Sandbox
	Logs     struct {
		RecordsTotal uint64 `json:"records_total"`
		DroppedTotal uint64 `json:"dropped_total"`
		RingRecords  int    `json:"ring_records"`
		RingBytes    int    `json:"ring_bytes"`
		Streams      int
	}
}

// fetch makes one request. The answer has to agree with the service's own
// OpenAPI document.
func fetch(t *testing.T, method, path string, header ...string) Response {
	t.Helper()
	// Not t.Context(): that has ended when a cleanup asks.
	request, err := http.NewRequestWithContext(context.Background(), method, target.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return send(t, request)
}

func send(t *testing.T, request *http.Request) Response {
	t.Helper()
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return receive(t, request.Method, request.URL.Path, answer)
}

// receive reads the answer and compares it with the OpenAPI document.
func receive(t *testing.T, method, path string, answer *http.Response) Response {
	t.Helper()
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	response := Response{answer.StatusCode, answer.Header, body}
	validate(t, method, path, response)
	return response
}

func get(t *testing.T, path string, header ...string) Response {
	t.Helper()
	return fetch(t, http.MethodGet, path, header...)
}

func decode[T any](t *testing.T, body []byte) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(body, &value); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return value
}

func status(t *testing.T) Status {
	t.Helper()
	response := get(t, "/api/v1/system/status")
	if response.Status != http.StatusOK {
		t.Fatalf("status %d: %s", response.Status, response.Body)
	}
	return decode[Status](t, response.Body)
}

// wantProblem checks an error answer as a whole.
func wantProblem(t *testing.T, response Response, code int) Problem {
	t.Helper()
	if response.Status != code {
		t.Fatalf("status %d, want %d: %s", response.Status, code, response.Body)
	}
	if kind := response.Header.Get("Content-Type"); kind != problemType {
		t.Errorf("Content-Type %q, want %q", kind, problemType)
	}
	problem := decode[Problem](t, response.Body)
	if problem.Status != code || problem.Title != http.StatusText(code) || problem.Type != "about:blank" {
		t.Errorf("problem %+v does not tell of a %d", problem, code)
	}
	if id := response.Header.Get("X-Request-Id"); problem.RequestID != id || id == "" {
		t.Errorf("request_id %q in the body, X-Request-Id %q in the header", problem.RequestID, id)
	}
	return problem
}

// dial opens a bare connection, for requests that net/http would not send.
func dial(t *testing.T) net.Conn {
	t.Helper()
	address := must(url.Parse(target.url))
	if address.Scheme != "http" {
		t.Skipf("%s: this test speaks plain HTTP", target.url)
	}
	host := address.Host
	if address.Port() == "" {
		host = net.JoinHostPort(address.Hostname(), "80")
	}
	conn, err := net.DialTimeout("tcp", host, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// prober asks /livez over and over, each time over a new connection.
type prober struct {
	stop   chan struct{}
	ended  chan struct{}
	count  int
	errors []string
}

func startProber(t *testing.T) *prober {
	p := &prober{stop: make(chan struct{}), ended: make(chan struct{})}
	ask := func() {
		answer, err := client.Get(target.url + "/livez")
		if err != nil {
			p.errors = append(p.errors, err.Error())
			return
		}
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			p.errors = append(p.errors, answer.Status)
		}
	}
	go func() {
		defer close(p.ended)
		for ; ; p.count++ {
			select {
			case <-p.stop:
				return
			default:
				ask()
			}
		}
	}()
	t.Cleanup(p.end)
	return p
}

func (p *prober) end() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	<-p.ended
}

// wantNoError ends the prober; it must have seen nothing but 200.
func (p *prober) wantNoError(t *testing.T, while string) {
	t.Helper()
	p.end()
	if len(p.errors) > 0 {
		t.Errorf("%d of %d requests failed while %s, the first: %s", len(p.errors), p.count, while, p.errors[0])
	}
	if p.count < 3 {
		t.Errorf("only %d requests were made while %s: that shows nothing", p.count, while)
	}
}

var (
	requestIDPattern   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	traceparentPattern = regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]$`)
)
