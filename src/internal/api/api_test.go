package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/sirupsen/logrus"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/problem"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/sd"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

func newProcess(t testing.TB) *Process {
	document, err := Document("gin-edged", nil)
	if err != nil {
		t.Fatal(err)
	}
	reader, _ := device.NewReader(os.DirFS("/"))
	logs := log.NewText(io.Discard)
	t.Cleanup(func() { _ = logs.Close(context.Background()) })
	return &Process{
		Log:      logs,
		Health:   &health.Registry{},
		Device:   reader,
		Product:  edge.Product{Name: "gin-edged", Version: "1.2.3"},
		Document: document,
		Uptime:   func() time.Duration { return time.Hour },
		Connections: func() server.Stats {
			return server.Stats{Active: 1, Limit: 2, Refused: 3, PerSource: 4, Rejected: 5, Slow: 6, Sources: 7, Memory: 8, Budget: 9}
		},
		Watchdog:   func() sd.WatchdogStats { return sd.WatchdogStats{} },
		LastReload: func() Reload { return Reload{} },
		Draining:   func() bool { return false },
		Events:     events.New(events.Options{BootID: "b", Uptime: func() float64 { return 1 }}),
		Data:       func() storage.Report { return storage.Report{State: storage.None} },
		Public:     func(s string) string { return strings.ReplaceAll(s, "/secret/", "") },
	}
}

func do(h http.Handler, method, target string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, body)
	r.Host = "localhost"
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, instance string) problem.Details {
	t.Helper()
	var p problem.Details
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	if w.Code != status || p.Status != status || p.Type != "about:blank" || p.Title != http.StatusText(status) || p.Detail == "" || p.Instance != instance {
		t.Errorf("status %d, problem %+v", w.Code, p)
	}
	if ct := w.Header().Get("Content-Type"); ct != problem.ContentType {
		t.Errorf("Content-Type %q", ct)
	}
	if id := w.Header().Get("X-Request-Id"); id == "" || p.RequestID != id {
		t.Errorf("request id %q in the header, %q in the body", id, p.RequestID)
	}
	return p
}

func TestErrors(t *testing.T) {
	h := New(newProcess(t), Settings{MaxBodyBytes: 10})
	wantProblem(t, do(h, "GET", "/nope%20x", nil), 404, "/nope%20x")
	wantProblem(t, do(h, "GET", "/livez/", nil), 404, "/livez/")
	w := do(h, "POST", "/livez", nil)
	wantProblem(t, w, 405, "/livez")
	if allow := w.Header().Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "HEAD") {
		t.Errorf("Allow: %q", allow)
	}
}

func TestBodyLimit(t *testing.T) {
	for name, h := range map[string]http.Handler{
		"of the configuration": withBody(newProcess(t), Settings{MaxBodyBytes: 10}, 1<<20),
		"of the route":         withBody(newProcess(t), Settings{MaxBodyBytes: 1 << 20}, 10),
	} {
		t.Run(name, func(t *testing.T) { testBodyLimit(t, h) })
	}
}

func testBodyLimit(t *testing.T, h http.Handler) {
	chunked := func(n int) io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, n))) }
	for _, tc := range []struct {
		name string
		body io.Reader
		want int
	}{
		{"length at the limit", strings.NewReader(strings.Repeat("x", 10)), 200},
		{"length above", strings.NewReader(strings.Repeat("x", 11)), 413},
		{"chunked at the limit", chunked(10), 200},
		{"chunked above", chunked(11), 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := do(h, "GET", "/body", tc.body)
			if w.Code != tc.want {
				t.Fatalf("status %d, want %d", w.Code, tc.want)
			}
			if tc.want == 413 {
				wantProblem(t, w, 413, "/body")
				if w.Header().Get("Connection") != "close" {
					t.Error("the connection is kept with a body left on it")
				}
			}
		})
	}
	w := do(h, "GET", "/body", io.MultiReader(strings.NewReader("x"), errReader{}))
	wantProblem(t, w, 400, "/body")
}

// A client that sends its whole body before it reads must get the answer, too.
func TestTooLargeIsSeenByAClientThatStillSends(t *testing.T) {
	srv := httptest.NewServer(withBody(newProcess(t), Settings{MaxBodyBytes: 1 << 10}, 1<<20))
	defer srv.Close()
	payload := bytes.Repeat([]byte("x"), 4<<20)
	for _, head := range []string{
		fmt.Sprintf("Content-Length: %d\r\n\r\n", len(payload)),
		fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(payload)),
	} {
		for range 5 {
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := conn.Write(append([]byte("GET /body HTTP/1.1\r\nHost: localhost\r\n"+head), payload...)); err != nil {
				t.Fatalf("%q: send: %v", head, err)
			}
			r, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || r.StatusCode != 413 || !r.Close {
				t.Fatalf("%q: %v, %v", head, r, err)
			}
			conn.Close()
		}
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("broken chunk") }

func TestPanicIsAProblemAndARecord(t *testing.T) {
	p := newProcess(t)
	h := New(p, Settings{})
	h.GET("/panic", func(*gin.Context) { panic("boom") })
	h.GET("/late", func(c *gin.Context) { c.String(200, "half"); panic("late") })
	w := do(h, "GET", "/panic", nil, "X-Request-Id", "req-1")
	wantProblem(t, w, 500, "/panic")
	if r := records(p)[0]; r.Level != "error" || r.Message != "panic: boom" || r.Fields["request_id"] != "req-1" {
		t.Errorf("log: %+v", r)
	}
	// The stack is for the journal, not for who asks the API.
	record := p.Log.After(p.Log.Back(logrus.DebugLevel, 9), logrus.DebugLevel, 1).Records[0]
	if !slices.ContainsFunc(record.Fields, func(f log.Field) bool { return f.Key == "stack" && strings.Contains(f.Value, "api_test.go") }) {
		t.Errorf("log: %+v", record)
	}
	if w := do(h, "GET", "/api/v1/logs", nil); !strings.Contains(w.Body.String(), "panic: boom") || strings.Contains(w.Body.String(), ".go:") || strings.Contains(w.Body.String(), "goroutine") {
		t.Errorf("logs: %s", w.Body)
	}
	if strings.Contains(w.Body.String(), "boom") {
		t.Error("the answer shows the cause")
	}
	defer func() {
		if cause := recover(); cause != http.ErrAbortHandler {
			t.Errorf("after the answer began: %v, want ErrAbortHandler", cause)
		}
	}()
	do(h, "GET", "/late", nil)
}

func TestRequestIDAndTrace(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	h := New(newProcess(t), Settings{})
	w := do(h, "GET", "/livez", nil, "X-Request-Id", "abc.1", "traceparent", parent)
	got := w.Header().Get("traceparent")
	if w.Header().Get("X-Request-Id") != "abc.1" || !strings.HasPrefix(got, parent[:36]) || !strings.HasSuffix(got, "-01") || got == parent {
		t.Errorf("header: %v", w.Header())
	}
	for _, header := range [][]string{
		{"X-Request-Id", "a b", "traceparent", "00-x"},
		{"X-Request-Id", "a", "X-Request-Id", "b", "traceparent", parent, "traceparent", parent},
		{},
	} {
		w := do(h, "GET", "/livez", nil, header...)
		if id := w.Header().Get("X-Request-Id"); len(id) != 32 {
			t.Errorf("%v: request id %q", header, id)
		}
		if tp := w.Header().Get("traceparent"); len(tp) != 55 || strings.HasPrefix(tp, parent[:35]) {
			t.Errorf("%v: traceparent %q", header, tp)
		}
	}
}

func TestHealth(t *testing.T) {
	p := newProcess(t)
	h := New(p, Settings{})
	loop := p.Health.Loop("x", time.Millisecond)
	p.Health.Ready("state", func() error { return errors.New("draining") })
	loop.Beat()
	time.Sleep(5 * time.Millisecond)
	// Anybody learns the outcome, the watchdog which check it was.
	w := do(h, "GET", "/livez", nil)
	if w.Code != 503 || w.Body.String() != `{"status":"failed"}` {
		t.Errorf("livez: %d %s", w.Code, w.Body)
	}
	status := func() (s statusBody) {
		t.Helper()
		w := do(h, "GET", "/api/v1/system/status", nil)
		if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || w.Code != 200 {
			t.Fatalf("status: %d %s, %v", w.Code, w.Body, err)
		}
		return s
	}
	if report := status().Health; report.Status != "failed" || !strings.Contains(report.Failed(), "loop/x: no beat") || !strings.Contains(report.Failed(), "state: draining") {
		t.Errorf("status: %+v", report)
	}
	loop.End()
	if w := do(h, "GET", "/livez", nil); w.Code != 200 || w.Body.String() != `{"status":"ok"}` {
		t.Errorf("livez: %d %s", w.Code, w.Body)
	}
	if w := do(h, "GET", "/readyz", nil); w.Code != 503 || w.Body.String() != `{"status":"failed"}` {
		t.Errorf("readyz: %d %s", w.Code, w.Body)
	}
	if report := status().Health; report.Failed() != "state: draining" {
		t.Errorf("status: %+v", report)
	}
}

func TestDegradedIsReady(t *testing.T) {
	p := newProcess(t)
	p.Health.Ready("data", func() error { return health.Degraded(errors.New("full")) })
	h := New(p, Settings{})
	w := do(h, "GET", "/readyz", nil)
	if w.Code != 200 || w.Body.String() != `{"status":"degraded"}` {
		t.Errorf("readyz: %d %s", w.Code, w.Body)
	}
	if w := do(h, "GET", "/api/v1/system/status", nil); !strings.Contains(w.Body.String(), `"health":{"status":"degraded","checks":[{"name":"data","ok":false,"degraded":true,"detail":"full"}]}`) {
		t.Errorf("status: %s", w.Body)
	}
}

func TestUnknownParametersAreRefusedEverywhere(t *testing.T) {
	h := New(newProcess(t), Settings{})
	for _, r := range h.Routes() {
		if r.Method != "GET" {
			continue
		}
		p := wantProblem(t, do(h, "GET", r.Path+"?x=1", nil), 400, r.Path)
		if !strings.HasPrefix(p.Detail, `unknown parameter "x"; `) {
			t.Errorf("%s: %s", r.Path, p.Detail)
		}
	}
	p := wantProblem(t, do(h, "GET", "/livez?"+strings.Repeat("x", 5000), nil), 400, "/livez")
	if len(p.Detail) > 200 {
		t.Errorf("the answer repeats %d bytes", len(p.Detail))
	}
}

// The wall clock is set while the service runs; how long it runs does not depend
// on it.
func TestStartedAtFollowsTheClock(t *testing.T) {
	before := time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC)
	if got := startedAt(before, time.Minute); !got.Equal(time.Unix(0, 0)) {
		t.Errorf("before: %v", got)
	}
	after := time.Date(2026, 1, 1, 0, 2, 0, 999, time.FixedZone("x", 3600))
	if got := startedAt(after, 2*time.Minute); got.Format(time.RFC3339Nano) != "2025-12-31T23:00:00Z" {
		t.Errorf("after: %v", got)
	}
	var s statusBody
	w := do(New(newProcess(t), Settings{}), "GET", "/api/v1/system/status", nil)
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Service.UptimeSeconds != 3600 || time.Since(s.Service.StartedAt).Round(time.Minute) != time.Hour {
		t.Errorf("%+v", s.Service)
	}
}

func TestStatusOfTheConfiguration(t *testing.T) {
	h := New(newProcess(t), Settings{Sources: []string{"a.toml"}, Skipped: []string{"b.toml:1: bad"}, Warnings: []string{"a.toml:2: old"}})
	if w := do(h, "GET", "/api/v1/system/status", nil); !strings.Contains(w.Body.String(),
		`"config":{"sources":["a.toml"],"generation":0,"last_reload":null,"skipped":["b.toml:1: bad"],"warnings":["a.toml:2: old"]}`) {
		t.Errorf("status: %s", w.Body)
	}
}

type eventsBody struct {
	Events []struct {
		events.Event
		Stored bool
	}
	eventsEnd
}

func askEvents(t *testing.T, h http.Handler, query string) eventsBody {
	t.Helper()
	w := do(h, "GET", "/api/v1/events"+query, nil)
	var body eventsBody
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 || body.Events == nil {
		t.Fatalf("%s: %d %s, %v", query, w.Code, w.Body, err)
	}
	return body
}

func TestEvents(t *testing.T) {
	p := newProcess(t)
	h := New(p, Settings{})
	ask := func(query string) eventsBody {
		t.Helper()
		return askEvents(t, h, query)
	}
	if body := ask(""); len(body.Events) != 0 || body.NextCursor != "0" {
		t.Errorf("before the first event: %+v", body)
	}
	for i := range 5 {
		p.Events.Record(events.Event{Kind: events.Watchdog, Severity: events.Critical, Message: fmt.Sprint(i + 1)})
	}
	epoch, _, _ := strings.Cut(ask("").NextCursor, "-")
	for _, want := range []struct {
		query, messages, next string
		reset                 bool
	}{
		{"", "12345", "5", false},
		{"?limit=2", "45", "5", false},
		{"?cursor=0&limit=2", "12", "2", false},
		{"?limit=1000&cursor=EPOCH-2", "345", "5", false},
		{"?cursor=EPOCH-5", "", "5", false},
		{"?cursor=EPOCH-99", "12345", "5", true}, // of a log that was lost
		{"?cursor=0123456789abcdef-5", "12345", "5", true},
		{"?limit=1&cursor=2", "1", "1", true}, // of a release without epochs
	} {
		body := ask(strings.ReplaceAll(want.query, "EPOCH", epoch))
		got := ""
		for _, e := range body.Events {
			got += e.Message
			if e.Fields == nil || e.Stored || e.BootID != "b" || e.Kind != events.Watchdog || e.UptimeSeconds != 1 {
				t.Errorf("event %+v", e)
			}
		}
		if got != want.messages || body.NextCursor != epoch+"-"+want.next || body.Reset != want.reset || body.Log.Pending != 5 {
			t.Errorf("%s: %q, %+v", want.query, got, body)
		}
	}
	for query, want := range map[string]string{
		"?limit=0":            `parameter limit: "0" is not a number from 1 to 1000`,
		"?limit=1001":         "parameter limit",
		"?limit=many":         "parameter limit",
		"?limit=":             "parameter limit",
		"?cursor=":            "parameter cursor",
		"?cursor=-1":          "parameter cursor",
		"?limit=1&limit=2":    `parameter limit is there 2 times; once is allowed`,
		"?crusor=1":           `unknown parameter "crusor"; known are cursor, limit`,
		"?limit=%zz":          "the query is malformed",
		"?limit=1;cursor=1":   "the query is malformed",
		"?cursor=1&cursor%5B": "unknown parameter",
	} {
		problem := wantProblem(t, do(h, "GET", "/api/v1/events"+query, nil), 400, "/api/v1/events")
		if !strings.Contains(problem.Detail, want) {
			t.Errorf("%s: %q, want %q", query, problem.Detail, want)
		}
	}
}

func FuzzParseEventsQuery(f *testing.F) {
	f.Add("cursor=1&limit=2")
	f.Add("cursor=%30&limit=%31")
	f.Add("limit=1&limit=2;")
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseEventsQuery(raw)
		if err == nil && (q.limit < 1 || q.limit > maxEvents || q.cursor != nil && q.cursor.String() == "") {
			t.Fatalf("%q: %+v", raw, q)
		}
	})
}

func TestDeviceAndStatus(t *testing.T) {
	p := newProcess(t)
	at := time.Now()
	p.LastReload = func() Reload { return Reload{At: at, Error: "f:1: key x: no"} }
	p.Watchdog = func() sd.WatchdogStats {
		return sd.WatchdogStats{Interval: 8 * time.Second, LastOK: at, Failures: 2, LastError: "e"}
	}
	p.Data = func() storage.Report {
		return storage.Report{Path: "/data", State: storage.Full, Detail: "d", TotalBytes: 2, FreeBytes: 1}
	}
	p.Declared = "seccomp x"
	h := New(p, Settings{Number: 7, Sources: []string{"/a"}})
	var d deviceBody
	w := do(h, "GET", "/api/v1/device", nil)
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || d.Hostname == "" || d.Service.Version != "1.2.3" || d.Service.Name != "gin-edged" {
		t.Errorf("device: %s %v", w.Body, err)
	}
	if raw, err := os.ReadFile("/etc/machine-id"); err == nil && len(raw) > 8 && strings.Contains(w.Body.String(), strings.TrimSpace(string(raw))) {
		t.Error("the raw machine id is exposed")
	}
	p.Log.Info("one")
	var s statusBody
	w = do(h, "GET", "/api/v1/system/status", nil)
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.LastReset != p.Device.LastReset() || s.LastReset.Cause == "" || s.Data != (statusData{Path: "/data", State: storage.Full, Detail: "d", TotalBytes: 2, FreeBytes: 1}) {
		t.Errorf("status: %s", w.Body)
	}
	sandbox, _ := p.Device.Sandbox(p.Declared)
	if !reflect.DeepEqual(s.Sandbox, sandbox) || len(s.Sandbox.Declared) != 2 || s.Sandbox.Missing[len(s.Sandbox.Missing)-1].Limit != "x" {
		t.Errorf("sandbox: %+v, want %+v", s.Sandbox, sandbox)
	}
	if s.Config.Generation != 7 || s.Config.LastReload.OK || s.Config.LastReload.Error == "" || !s.Watchdog.Enabled || s.Watchdog.IntervalSeconds != 8 ||
		s.Logs.RecordsTotal != 1 || s.Logs.RingRecords != 1 || s.Logs.RingBytes == 0 || s.Logs.DroppedTotal != 0 || s.Logs.Streams != 0 ||
		s.Connections != (statusConnections{1, 2, 3, 4, 5, 6, 7, 8, 9}) || s.RequestsTotal != 2 || s.Service.PID != os.Getpid() || s.Memory.TotalBytes == 0 {
		t.Errorf("status: %s", w.Body)
	}
}

// The document and the routes must name the same operations.
func TestOpenAPINamesEveryRoute(t *testing.T) {
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]any
	}
	h := New(newProcess(t), Settings{})
	served := do(h, "GET", "/openapi.json", nil).Body.Bytes()
	if err := json.Unmarshal(served, &doc); err != nil {
		t.Fatal(err)
	}
	var documented, routed []string
	for path, methods := range doc.Paths {
		for method := range methods {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	for _, r := range h.Routes() {
		routed = append(routed, r.Method+" "+r.Path)
	}
	slices.Sort(documented)
	slices.Sort(routed)
	if !slices.Equal(documented, routed) {
		t.Errorf("documented %v\nrouted     %v", documented, routed)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.") {
		t.Errorf("it is of version %q", doc.OpenAPI)
	}
}

func TestDrainingClosesConnections(t *testing.T) {
	p := newProcess(t)
	p.Draining = func() bool { return true }
	if w := do(New(p, Settings{}), "GET", "/livez", nil); w.Header().Get("Connection") != "close" {
		t.Error("keep-alive while draining")
	}
}

func TestRequestsAreLoggedAtDebugOnly(t *testing.T) {
	p := newProcess(t)
	h := New(p, Settings{})
	do(h, "GET", "/livez", nil)
	if all := records(p); len(all) > 0 {
		t.Errorf("at info: %+v", all)
	}
	p.Log.SetLevel(logrus.DebugLevel)
	do(h, "GET", "/livez", nil, "X-Request-Id", "dbg")
	all := records(p)
	if len(all) != 1 {
		t.Fatalf("at debug: %+v", all)
	}
	f := all[0].Fields
	if _, err := strconv.ParseUint(f["duration_us"], 10, 64); err != nil || f["request_id"] != "dbg" || f["route"] != "/livez" || len(f["trace_id"]) != 32 {
		t.Errorf("at debug: %+v", f)
	}
}

func benchmark(b *testing.B, path string) {
	p := newProcess(b)
	for _, name := range []string{"main", "accept-http"} {
		p.Health.Loop(name, time.Hour)
	}
	h := New(p, Settings{MaxBodyBytes: 1 << 20})
	r := httptest.NewRequest("GET", path, nil).WithContext(context.Background())
	r.Host = "localhost"
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}

func BenchmarkLivez(b *testing.B)  { benchmark(b, "/livez") }
func BenchmarkDevice(b *testing.B) { benchmark(b, "/api/v1/device") }
