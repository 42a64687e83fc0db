package blackbox

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// LogRecord is one of /api/v1/logs.
type LogRecord struct {
	Time           time.Time
	Level, Message string
	Fields         map[string]string
	Sequence       uint64
}

// Logs is the body of /api/v1/logs.
type Logs struct {
	Records []LogRecord
	Cursor  string
	Reset   bool
	Missed  uint64
}

func logs(t *testing.T, query url.Values) Logs {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, target.url+"/api/v1/logs?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response := send(t, request)
	if response.Status != http.StatusOK {
		t.Fatalf("status %d: %s", response.Status, response.Body)
	}
	return decode[Logs](t, response.Body)
}

func TestLogs(t *testing.T) {
	all := logs(t, nil)
	for i, r := range all.Records {
		if i > 0 && r.Sequence <= all.Records[i-1].Sequence {
			t.Errorf("record %d follows %d", r.Sequence, all.Records[i-1].Sequence)
		}
	}
	if len(all.Records) == 0 || all.Reset || all.Missed != 0 {
		t.Fatalf("the start alone has left records, this is %+v", all)
	}
	one := logs(t, url.Values{"limit": {"1"}})
	if len(one.Records) != 1 || one.Records[0].Sequence < all.Records[len(all.Records)-1].Sequence {
		t.Errorf("the newest record: %+v", one)
	}
	for _, r := range logs(t, url.Values{"level": {"warn"}}).Records {
		if r.Level == "info" || r.Level == "debug" {
			t.Errorf("level warn shows %+v", r)
		}
	}
	if next := logs(t, url.Values{"cursor": {all.Cursor}}); next.Reset || next.Missed != 0 {
		t.Errorf("after %s: %+v", all.Cursor, next)
	}
	if old := logs(t, url.Values{"cursor": {"0123456789abcdef-1"}}); !old.Reset {
		t.Errorf("a cursor of another process: %+v", old)
	}
}

func TestLogParameters(t *testing.T) {
	for query, want := range map[string]string{
		"limit=1001": `parameter limit: "1001" is not a number from 1 to 1000`,
		"level=loud": `parameter level: "loud" is not one of critical, error, warn, info, debug`,
		"cursor=old": `parameter cursor: "old" is not a cursor`,
		"lines=5":    `unknown parameter "lines"; known are cursor, level`,
	} {
		for _, path := range []string{"/api/v1/logs", "/api/v1/logs/stream"} {
			if path == "/api/v1/logs/stream" && query == "limit=1001" {
				want = `unknown parameter "limit"; known are cursor, level`
			}
			request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, target.url+path+"?"+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			if problem := wantProblem(t, send(t, request), http.StatusBadRequest); !strings.HasPrefix(problem.Detail, want) {
				t.Errorf("%s?%s: %s", path, query, problem.Detail)
			}
		}
	}
}

// logStream is an open stream of server-sent events.
type logStream struct {
	t      *testing.T
	answer *http.Response
	lines  *bufio.Scanner
}

type logEvent struct{ id, name, data string }

func openLogStream(t *testing.T, query, lastID string) *logStream {
	t.Helper()
	// Without the client's time limit: a stream has no end.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.url+"/api/v1/logs/stream"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	answer, err := client.Transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode == http.StatusOK && kind != "text/event-stream" {
		t.Errorf("Content-Type %q", kind)
	}
	return &logStream{t, answer, bufio.NewScanner(answer.Body)}
}

// next reads up to an empty line; ok is false at the end of the stream.
func (s *logStream) next() (e logEvent, ok bool) {
	s.t.Helper()
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch name {
		case "":
			return e, true
		case ":":
			e.name = "heartbeat"
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		}
	}
	if err := s.lines.Err(); err != nil {
		s.t.Fatalf("the stream broke: %v", err)
	}
	return e, false
}

// wantRequest reads until the record of a request comes, and returns its id.
func (s *logStream) wantRequest(requestID string) string {
	s.t.Helper()
	for {
		e, ok := s.next()
		if !ok {
			s.t.Fatalf("the stream ended before the record of %s", requestID)
		}
		if e.name != "log" {
			continue
		}
		if r := decode[LogRecord](s.t, []byte(e.data)); r.Fields["request_id"] == requestID {
			if _, err := strconv.ParseUint(r.Fields["duration_us"], 10, 64); err != nil || r.Fields["route"] != "/livez" || r.Fields["trace_id"] == "" {
				s.t.Errorf("record of a request: %+v", r)
			}
			return e.id
		}
	}
}

func TestLogStreamHead(t *testing.T) {
	head := fetch(t, http.MethodHead, "/api/v1/logs/stream")
	if head.Status != http.StatusOK || head.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("status %d, %v", head.Status, head.Header)
	}
}

// A stream outlives the timeouts of usual requests, and what comes after an
// event can be asked for with its id, also after a reload has ended the stream.
func TestLogStream(t *testing.T) {
	configure(t, "[server]\nread_header_timeout = \"1s\"\nread_timeout = \"1s\"\nwrite_timeout = \"1s\"\n[log]\nlevel = \"debug\"\n")
	// Above all records but the critical, so that nothing but the heartbeat comes.
	quiet := openLogStream(t, "?level=critical", "")
	s := openLogStream(t, "", "")
	if e, ok := s.next(); !ok || e.id == "" {
		t.Fatalf("first block %+v, %v: want the position as id", e, ok)
	}
	eventually(t, time.Minute, "two streams to be counted", func() bool { return status(t).Logs.Streams == 2 })
	get(t, "/livez", "X-Request-Id", "streamed-1")
	first := s.wantRequest("streamed-1")
	if e, ok := quiet.next(); !ok || e.id == "" {
		t.Fatalf("first block %+v, %v: want the position as id", e, ok)
	}
	if e, ok := quiet.next(); !ok || e.name != "heartbeat" {
		t.Fatalf("%+v, %v: want a heartbeat", e, ok)
	}
	get(t, "/livez", "X-Request-Id", "streamed-2")
	s.wantRequest("streamed-2")

	if outcome := reload(t, needControl(t)); !outcome.OK {
		t.Fatal(outcome.Error)
	}
	for {
		if _, ok := s.next(); !ok {
			break
		}
	}
	again := openLogStream(t, "", first)
	again.wantRequest("streamed-2")
}

func TestLogStreamLimit(t *testing.T) {
	// All clients of the suite may come from one address.
	configure(t, "[server]\ntrusted_sources = [\"0.0.0.0/0\", \"::/0\"]\n")
	eventually(t, time.Minute, "the streams of other tests to end", func() bool { return status(t).Logs.Streams == 0 })
	var last *logStream
	for range 8 {
		last = openLogStream(t, "", "")
		if last.answer.StatusCode != http.StatusOK {
			t.Fatalf("status %d", last.answer.StatusCode)
		}
	}
	response := get(t, "/api/v1/logs/stream")
	wantProblem(t, response, http.StatusServiceUnavailable)
	if response.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	_ = last.answer.Body.Close()
	eventually(t, time.Minute, "the closed stream to be counted no more", func() bool { return status(t).Logs.Streams == 7 })
}

// One address has a share of the streams, not all of them.
func TestLogStreamsOfOneAddress(t *testing.T) {
	eventually(t, time.Minute, "the streams of other tests to end", func() bool { return status(t).Logs.Streams == 0 })
	for range 3 {
		if s := openLogStream(t, "", ""); s.answer.StatusCode != http.StatusOK {
			t.Fatalf("status %d", s.answer.StatusCode)
		}
	}
	response := get(t, "/api/v1/logs/stream")
	wantProblem(t, response, http.StatusTooManyRequests)
	if response.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// A drain does not wait for streams, and a cursor does not mean something else
// after the restart.
func TestLogStreamEndsAtDrain(t *testing.T) {
	c := needControl(t)
	configure(t, "[server]\ndrain_delay = \"0s\"\ndrain_timeout = \"300s\"\n")
	cursor := logs(t, nil).Cursor
	s := openLogStream(t, "", "")
	begin := time.Now()
	c.beginStop(t)
	if rest, err := io.ReadAll(s.answer.Body); err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if code := c.exitStatus(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if d := time.Since(begin); d > time.Minute {
		t.Errorf("the stop took %v", d)
	}
	c.start(t)
	if after := logs(t, url.Values{"cursor": {cursor}}); !after.Reset || len(after.Records) == 0 || after.Records[0].Sequence != 1 {
		t.Errorf("a cursor of before the restart: %+v", after)
	}
}

// A flood of records is counted, and bounded in memory.
func TestLogFlood(t *testing.T) {
	configure(t, "[log]\nlevel = \"debug\"\n")
	before := status(t).Logs
	const flood = 3000
	done := make(chan error, 4)
	for range cap(done) {
		go func() {
			own := &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}
			defer own.CloseIdleConnections()
			for range flood / cap(done) {
				answer, err := own.Get(target.url + "/livez")
				if err != nil {
					done <- err
					return
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	now := status(t).Logs
	if now.RecordsTotal < before.RecordsTotal+flood {
		t.Errorf("%d records, %d before: each of %d requests has one", now.RecordsTotal, before.RecordsTotal, flood)
	}
	if now.RingRecords > 2000 || now.RingBytes > 1<<20 {
		t.Errorf("the ring has grown: %+v", now)
	}
	oldest := logs(t, url.Values{"cursor": {"0123456789abcdef-1"}, "limit": {"1"}}).Records[0].Sequence
	if oldest <= 1 || oldest > now.RecordsTotal {
		t.Errorf("the oldest record is %d of %d", oldest, now.RecordsTotal)
	}
}
