package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

func TestGate(t *testing.T) {
	var g gate
	cut := map[int]bool{}
	enter := func(i int, source string) (func(), bool) {
		return g.enter(source, func() { cut[i] = true })
	}
	var leave []func()
	for i := range costlyAnswers {
		l, _ := enter(i, fmt.Sprint("host ", i/costlyPerSource))
		if l == nil {
			t.Fatalf("answer %d has no place", i)
		}
		leave = append(leave, l)
	}
	if l, full := enter(98, "host 0"); l != nil || full {
		t.Error("one more for a host that has all of its own")
	}
	if l, full := enter(99, "another"); l != nil || !full {
		t.Error("one more than there are places")
	}
	leave[3]()
	l, _ := enter(100, "another")
	if l == nil || len(cut) > 0 {
		t.Errorf("a place was free: cut %v", cut)
	}
	// The first two take their time: each newcomer cuts the oldest of them, and
	// one of the same host makes way first.
	g.holders[0].since = g.holders[0].since.Add(-costlyPatience)
	g.holders[1].since = g.holders[1].since.Add(-costlyPatience)
	if l, _ := enter(101, "another"); l == nil || !cut[0] || len(cut) != 1 {
		t.Errorf("cut %v", cut)
	}
	if l, _ := enter(102, "host 0"); l == nil || !cut[1] || len(cut) != 2 {
		t.Errorf("cut %v", cut)
	}
	if l, full := enter(103, "third"); l != nil || !full || len(cut) != 2 {
		t.Errorf("an answer that is under way was cut: %v", cut)
	}
	for _, l := range leave {
		l() // also of those that were cut
	}
	if want := 3; len(g.holders) != want {
		t.Errorf("%d hold places, want %d", len(g.holders), want)
	}
}

// Clients that ask for everything and read nothing cost no memory to speak of,
// and who reads is served.
func TestAnswersThatNobodyReads(t *testing.T) {
	servicetest.NoLeaks(t)
	p := newProcess(t)
	for i := range 300 {
		p.Events.Record(events.Event{Kind: events.Watchdog, Severity: events.Critical, Message: strings.Repeat("x", 1000), Fields: map[string]string{"i": fmt.Sprint(i)}})
		p.Log.Info(strings.Repeat("y", 12000))
	}
	h := New(p, Settings{})
	for _, path := range []string{"/api/v1/events?limit=1000", "/api/v1/logs?limit=1000"} {
		var blocked []*stuckWriter
		for range costlyAnswers {
			w := &stuckWriter{ResponseRecorder: httptest.NewRecorder(), stuck: make(chan struct{}), freed: make(chan struct{})}
			blocked = append(blocked, w)
			go func() {
				defer close(w.freed)
				h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
			}()
			<-w.stuck
		}
		w := do(h, "GET", path, nil)
		wantProblem(t, w, http.StatusServiceUnavailable, strings.TrimSuffix(path, "?limit=1000"))
		if w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		p.answers.mu.Lock()
		for _, holder := range p.answers.holders {
			holder.since = holder.since.Add(-costlyPatience)
		}
		p.answers.mu.Unlock()
		if w := do(h, "GET", path, nil); w.Code != http.StatusOK {
			t.Errorf("%s: who reads is answered %d", path, w.Code)
		}
		<-blocked[0].freed // cut off
		for _, w := range blocked[1:] {
			close(w.deadline)
			<-w.freed
		}
		for _, w := range blocked {
			if n := w.Body.Len(); n > 32<<10 {
				t.Errorf("%s: %d bytes were made for a client that reads nothing", path, n)
			}
		}
	}
}

// stuckWriter is a client that reads the first part of an answer alone.
type stuckWriter struct {
	*httptest.ResponseRecorder
	stuck, freed chan struct{}
	deadline     chan struct{}
	said         bool
}

func (w *stuckWriter) Write(b []byte) (int, error) {
	if !w.said {
		w.said = true
		w.deadline = make(chan struct{})
		close(w.stuck)
		<-w.deadline
		return 0, io.ErrClosedPipe
	}
	return 0, io.ErrClosedPipe
}

func (w *stuckWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

func (w *stuckWriter) SetWriteDeadline(time.Time) error {
	close(w.deadline)
	return nil
}

// Over real connections: what is cut off is seen as broken, not as whole.
func TestCutAnswersAreBroken(t *testing.T) {
	servicetest.NoLeaks(t)
	p := newProcess(t)
	for range 90 {
		p.Log.Info(strings.Repeat("y", 15000))
	}
	srv := httptest.NewUnstartedServer(New(p, Settings{}))
	srv.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(4096)
		return ctx
	}
	srv.Start()
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, "GET /api/v1/logs?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.answers.mu.Lock()
	if len(p.answers.holders) != 1 {
		t.Fatalf("%d answers are on their way: this one is too small for the test", len(p.answers.holders))
	}
	p.answers.holders[0].cut()
	p.answers.mu.Unlock()
	if body, err := io.ReadAll(r.Body); err == nil {
		t.Errorf("%d bytes of an answer that was cut off end well", len(body))
	}
}
