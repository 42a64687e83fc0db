package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

type logsBody struct {
	Records []logRecord
	Cursor  string
	Reset   bool
	Missed  uint64
}

func getLogs(t *testing.T, h http.Handler, query string) (body logsBody) {
	t.Helper()
	w := do(h, "GET", "/api/v1/logs"+query, nil)
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Fatalf("%s: %d %s, %v", query, w.Code, w.Body, err)
	}
	return body
}

// records are what is in the ring.
func records(p *Process) (all []logRecord) {
	l := logsResource{public: p.Public}
	for _, r := range p.Log.After(p.Log.Back(logrus.DebugLevel, maxLogLimit), logrus.DebugLevel, maxLogLimit).Records {
		var body logRecord
		if err := json.Unmarshal(l.json(r), &body); err != nil {
			panic(err)
		}
		all = append(all, body)
	}
	return all
}

func messages(records []logRecord) string {
	var all []string
	for _, r := range records {
		all = append(all, r.Message)
	}
	return strings.Join(all, " ")
}

func TestLogs(t *testing.T) {
	p := newProcess(t)
	h := New(p, Settings{})
	if empty := getLogs(t, h, ""); empty.Records == nil || len(empty.Records) != 0 || empty.Cursor == "" {
		t.Errorf("empty: %+v", empty)
	}
	for i := range 6 {
		p.Log.WithField("request_id", "r").Log([]logrus.Level{logrus.InfoLevel, logrus.WarnLevel}[i%2], fmt.Sprint("m", i))
	}
	newest := getLogs(t, h, "?limit=2")
	if messages(newest.Records) != "m4 m5" || newest.Reset || newest.Missed != 0 {
		t.Errorf("newest: %+v", newest)
	}
	if r := newest.Records[1]; r.Level != "warn" || r.Sequence != 6 || r.Fields["request_id"] != "r" || time.Since(r.Time) > time.Minute {
		t.Errorf("record: %+v", r)
	}
	if got := getLogs(t, h, "?level=warn&limit=2"); messages(got.Records) != "m3 m5" {
		t.Errorf("warnings: %+v", got)
	}
	p.Log.Error("m6")
	next := getLogs(t, h, "?cursor="+newest.Cursor)
	if messages(next.Records) != "m6" || next.Reset {
		t.Errorf("next: %+v", next)
	}
	if again := getLogs(t, h, "?cursor="+next.Cursor); len(again.Records) != 0 || again.Cursor != next.Cursor {
		t.Errorf("again: %+v", again)
	}
	if got := getLogs(t, h, "?limit=1&cursor=0123456789abcdef-2"); !got.Reset || messages(got.Records) != "m0" {
		t.Errorf("a cursor of another process: %+v", got)
	}
	if w := do(h, "HEAD", "/api/v1/logs", nil); w.Code != 200 {
		t.Errorf("HEAD: %d", w.Code)
	}
}

func TestLogsSayWhatTheyMissed(t *testing.T) {
	p := newProcess(t)
	h := New(p, Settings{})
	begin := getLogs(t, h, "").Cursor
	for range 3000 {
		p.Log.Info("x")
	}
	got := getLogs(t, h, "?cursor="+begin)
	if got.Missed == 0 || got.Records[0].Sequence != got.Missed+1 || len(got.Records) != defaultLogLimit {
		t.Errorf("missed %d, %d records", got.Missed, len(got.Records))
	}
}

// The journal has the paths of the configuration's files, the API their labels.
func TestLogsWithoutPaths(t *testing.T) {
	p := newProcess(t)
	p.Log.WithError(errors.New("/secret/c.toml:1: bad")).Error("reload of /secret/c.toml")
	w := do(New(p, Settings{}), "GET", "/api/v1/logs", nil)
	if body := w.Body.String(); strings.Contains(body, "secret") || !strings.Contains(body, "c.toml:1: bad") || !strings.Contains(body, "reload of c.toml") {
		t.Error(body)
	}
}

// A rare record is found behind many that its level hides.
func TestLogsOfARareLevel(t *testing.T) {
	p := newProcess(t)
	h := New(p, Settings{})
	begin := getLogs(t, h, "").Cursor
	for range 1000 {
		p.Log.Info("x")
	}
	p.Log.Error("rare")
	for _, query := range []string{"?level=error", "?level=error&cursor=" + begin} {
		if got := getLogs(t, h, query); messages(got.Records) != "rare" {
			t.Errorf("%s: %q", query, messages(got.Records))
		}
	}
}

func TestLogParameters(t *testing.T) {
	h := New(newProcess(t), Settings{})
	for _, tc := range []struct{ target, want string }{
		{"/api/v1/logs?limit=0", `parameter limit: "0" is not a number from 1 to 1000`},
		{"/api/v1/logs?limit=1001", `parameter limit: "1001" is not a number from 1 to 1000`},
		{"/api/v1/logs?limit=", `parameter limit: "" is not a number from 1 to 1000`},
		{"/api/v1/logs?limit=99999999999", `parameter limit: "99999999999" is not`},
		{"/api/v1/logs?limit=1&limit=2", "parameter limit is there 2 times; once is allowed"},
		{"/api/v1/logs?level=loud", `parameter level: "loud" is not one of critical, error, warn, info, debug`},
		{"/api/v1/logs?cursor=5", `parameter cursor: "5" is not a cursor of this API; allowed is what an earlier answer gave`},
		{"/api/v1/logs?cursro=5", `unknown parameter "cursro"; known are cursor, level, limit`},
		{"/api/v1/logs?a=%zz", "the query is malformed"},
		{"/api/v1/logs/stream?limit=1", `unknown parameter "limit"; known are cursor, level`},
		{"/api/v1/logs/stream?level=", `parameter level: "" is not one of`},
	} {
		path, _, _ := strings.Cut(tc.target, "?")
		if p := wantProblem(t, do(h, "GET", tc.target, nil), 400, path); !strings.HasPrefix(p.Detail, tc.want) {
			t.Errorf("%s: %s", tc.target, p.Detail)
		}
	}
	p := wantProblem(t, do(h, "GET", "/api/v1/logs/stream", nil, "Last-Event-ID", "x"), 400, "/api/v1/logs/stream")
	if !strings.HasPrefix(p.Detail, `header Last-Event-ID: "x" is not a cursor`) {
		t.Error(p.Detail)
	}
}

// slowWriter is a client during whose answer the ring turns over.
type slowWriter struct {
	*httptest.ResponseRecorder
	once func()
}

func (w *slowWriter) Write(b []byte) (int, error) {
	w.once()
	return w.ResponseRecorder.Write(b)
}

// What a slow client is still to get does not stay in memory for it: the answer
// ends, and the next one says what is missing.
func TestLogsOfASlowClient(t *testing.T) {
	p := newProcess(t)
	h := New(p, Settings{})
	for range 100 {
		p.Log.Info("old")
	}
	w := &slowWriter{httptest.NewRecorder(), sync.OnceFunc(func() {
		for range 3000 {
			p.Log.Info("new")
		}
	})}
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/api/v1/logs", nil))
	var body logsBody
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Records) != logBatch || body.Missed != 0 {
		t.Fatalf("%d records, missed %d, %v", len(body.Records), body.Missed, err)
	}
	next := getLogs(t, h, "?cursor="+body.Cursor)
	if want := next.Records[0].Sequence - body.Records[logBatch-1].Sequence - 1; next.Missed == 0 || next.Missed != want {
		t.Errorf("missed %d, want %d", next.Missed, want)
	}
}

// stream is a client of the event stream.
type stream struct {
	t *testing.T
	r *bufio.Reader
}

type event struct{ id, name, data string }

// streamServer has timeouts that a stream outlives.
func streamServer(t *testing.T, p *Process) *httptest.Server {
	servicetest.NoLeaks(t)
	srv := httptest.NewUnstartedServer(New(p, Settings{}))
	srv.Config.ReadTimeout = 200 * time.Millisecond
	srv.Config.WriteTimeout = 200 * time.Millisecond
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv
}

func open(t *testing.T, srv *httptest.Server, query, lastID string) (*stream, *http.Response) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/logs/stream"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Last-Event-ID", lastID)
	r, err := srv.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	return &stream{t, bufio.NewReader(r.Body)}, r
}

// next reads one block.
func (s *stream) next() (e event) {
	s.t.Helper()
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "":
			return e
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		}
	}
}

func (s *stream) wantLog(message string) event {
	s.t.Helper()
	e := s.next()
	var r logRecord
	if err := json.Unmarshal([]byte(e.data), &r); err != nil || e.name != "log" || r.Message != message || e.id == "" {
		s.t.Fatalf("event %+v, %v; want %q", e, err, message)
	}
	return e
}

func TestLogStream(t *testing.T) {
	p := newProcess(t)
	srv := streamServer(t, p)
	p.Log.Info("before")
	s, r := open(t, srv, "?level=warn", "")
	if kind := r.Header.Get("Content-Type"); r.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("%d %s", r.StatusCode, kind)
	}
	first := s.next()
	if first.id == "" || first.name != "" {
		t.Errorf("first block: %+v", first)
	}
	time.Sleep(3 * srv.Config.WriteTimeout) // and read_timeout: both would end it
	p.Log.Info("hidden")
	p.Log.Warn("one")
	p.Log.Error("two")
	one := s.wantLog("one")
	s.wantLog("two")
	if n := p.streams.Load(); n != 1 {
		t.Errorf("%d streams are counted", n)
	}

	// The header wins over the parameter that a browser sends again.
	resumed, _ := open(t, srv, "?cursor="+first.id, one.id)
	resumed.next()
	resumed.wantLog("two")
	all, _ := open(t, srv, "?cursor="+first.id, "")
	all.next()
	all.wantLog("hidden")

	foreign, _ := open(t, srv, "?cursor=0123456789abcdef-2", "")
	foreign.next()
	if e := foreign.next(); e.name != "gap" || e.data != `{"missed":0,"reset":true}` {
		t.Errorf("a cursor of another process: %+v", e)
	}
	foreign.wantLog("before")

	head, err := srv.Client().Head(srv.URL + "/api/v1/logs/stream")
	if err != nil || head.StatusCode != 200 || head.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %v, %v", head, err)
	}
}

// A client that does not read costs no memory: the ring goes on without it.
func TestLogStreamOfASlowClient(t *testing.T) {
	p := newProcess(t)
	srv := streamServer(t, p)
	s, _ := open(t, srv, "", "")
	s.next()
	const flood = 3000
	for range flood {
		p.Log.Info(strings.Repeat("x", 12<<10)) // more than the sockets buffer
	}
	p.Log.Info("last")
	var seen, missed uint64
	for last := false; !last; {
		e := s.next()
		switch e.name {
		case "gap":
			var gap struct{ Missed uint64 }
			if err := json.Unmarshal([]byte(e.data), &gap); err != nil {
				t.Fatal(err)
			}
			missed += gap.Missed
		case "log":
			seen++
			last = strings.Contains(e.data, `"message":"last"`)
		}
	}
	if missed == 0 || seen+missed != flood+1 {
		t.Errorf("%d seen and %d missed of %d", seen, missed, flood+1)
	}
}

func TestLogStreamsAreLimited(t *testing.T) {
	p := newProcess(t)
	srv := streamServer(t, p)
	var first *http.Response
	for range maxStreams {
		s, r := open(t, srv, "", "")
		s.next()
		first = r
	}
	_, r := open(t, srv, "", "")
	body, _ := io.ReadAll(r.Body)
	if r.StatusCode != 503 || r.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "all 8 log streams are in use") {
		t.Errorf("%d %v %s", r.StatusCode, r.Header, body)
	}
	first.Body.Close()
	for deadline := time.Now().Add(10 * time.Second); p.streams.Load() == maxStreams; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the stream of a client that has gone still counts")
		}
	}
	if _, r := open(t, srv, "", ""); r.StatusCode != 200 {
		t.Errorf("after one has gone: %d", r.StatusCode)
	}
}

// At debug, requests for the log are in the log: one record each, no circle.
func TestLogOfLogRequests(t *testing.T) {
	p := newProcess(t)
	p.Log.SetLevel(logrus.DebugLevel)
	srv := streamServer(t, p)
	s, _ := open(t, srv, "", "")
	s.next()
	do(srv.Config.Handler, "GET", "/api/v1/logs", nil)
	s.wantLog("request answered")
	p.Log.Info("end")
	s.wantLog("end")
}

func BenchmarkLogs(b *testing.B) {
	p := newProcess(b)
	for range 100 {
		p.Log.WithField("request_id", "0123456789abcdef").Info("x")
	}
	h := New(p, Settings{})
	b.ReportAllocs()
	for b.Loop() {
		if w := do(h, "GET", "/api/v1/logs", nil); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}
