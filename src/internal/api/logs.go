package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/sirupsen/logrus"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
)

const (
	headerLastEventID = "Last-Event-Id"

	defaultLogLimit = 100
	maxLogLimit     = 1000

	// logBatch is how many records are taken from the ring at once. A client
	// that reads slowly keeps no more than these from being freed.
	logBatch = 8

	// streamHeartbeat is what the HTML standard advises against proxies that
	// drop silent connections (server-sent events, section 9.2.7).
	streamHeartbeat = 15 * time.Second
	// streamWrite is how long a client may take nothing before it is cut off.
	streamWrite = 10 * time.Second
	// streamEnd is how long the end of a stream may take to be sent: a drain
	// waits for it.
	streamEnd   = time.Second
	streamRetry = 3 * time.Second
)

type logRecord struct {
	Time     time.Time         `json:"time"`
	Level    string            `json:"level"`
	Message  string            `json:"message"`
	Fields   map[string]string `json:"fields"`
	Sequence uint64            `json:"sequence"`
}

// json is a record as the API shows it: without the stack of a panic, which is
// for who has the journal and the source, and without the paths of the
// configuration's files.
func (l logsResource) json(r *log.Record) []byte {
	body := logRecord{r.Time.UTC(), log.LevelName(r.Level), l.public(r.Message), make(map[string]string, len(r.Fields)), r.Sequence}
	for _, f := range r.Fields {
		if f.Key != fieldStack {
			body.Fields[f.Key] = l.public(f.Value)
		}
	}
	return mustJSON(body)
}

// mustJSON is for values of strings and numbers, which cannot fail.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

type logsResource struct {
	log     *log.Log
	streams *streamPlaces
	public  func(string) string
	life    time.Duration // of a stream
}

func (l logsResource) routes() []edge.Route {
	return []edge.Route{
		{Method: http.MethodGet, Path: "/api/v1/logs", Role: edge.Anyone, Cost: edge.Large, Handle: l.page},
		{Method: http.MethodGet, Path: "/api/v1/logs/stream", Role: edge.Anyone, Cost: edge.Endless, Handle: l.stream},
	}
}

func (l logsResource) page(c *gin.Context) {
	q := newLogQuery()
	err := readQuery(c.Request.URL.RawQuery, readers{"cursor": q.readCursor, "level": q.readLevel, "limit": readLimit(&q.limit, maxLogLimit)})
	if err != nil {
		web.Problem(c, http.StatusBadRequest, err.Error())
		return
	}
	if q.cursor == nil {
		back := l.log.Back(q.level, q.limit)
		q.cursor = &back
	}
	page := l.log.After(*q.cursor, q.level, min(q.limit, logBatch))
	reset, missed := page.Reset, page.Missed
	var next log.Cursor
	c.Header("Content-Type", "application/json; charset=utf-8")
	w := c.Writer
	_, err = io.WriteString(w, `{"records":[`)
	for sent := 0; ; {
		for _, r := range page.Records {
			if err != nil {
				return // the client has gone
			}
			if sent > 0 {
				_, _ = io.WriteString(w, ",")
			}
			_, err = w.Write(l.json(r))
			sent++
		}
		next = page.Next
		if !page.More || sent == q.limit {
			break
		}
		page = l.log.After(next, q.level, min(q.limit-sent, logBatch))
		if page.Missed > 0 {
			break // the next answer says so
		}
	}
	_, _ = fmt.Fprintf(w, `],"cursor":"%s","reset":%t,"missed":%d}`, next, reset, missed)
}

type logQuery struct {
	cursor *log.Cursor // nil without one
	level  logrus.Level
	limit  int
}

// newLogQuery is the one of an empty query: all that log.level lets through.
func newLogQuery() *logQuery { return &logQuery{level: logrus.DebugLevel, limit: defaultLogLimit} }

func (q *logQuery) readCursor(value string) error {
	c, err := log.ParseCursor(value)
	if err != nil {
		return fmt.Errorf("%s %w; allowed is what an earlier answer gave as cursor or id", short(value), err)
	}
	q.cursor = &c
	return nil
}

func (q *logQuery) readLevel(value string) (err error) {
	q.level, err = log.ParseLevel(value)
	return err
}

// streamLogs sends server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (l logsResource) stream(c *gin.Context) {
	q := newLogQuery()
	err := readQuery(c.Request.URL.RawQuery, readers{"cursor": q.readCursor, "level": q.readLevel})
	// A browser that connects again keeps its URL: its header is the newer one.
	if id := c.Request.Header.Values(headerLastEventID); err == nil && len(id) > 0 && id[0] != "" {
		if len(id) > 1 {
			err = errors.New("header Last-Event-ID is there more than once")
		} else if err = q.readCursor(id[0]); err != nil {
			err = fmt.Errorf("header Last-Event-ID: %w", err)
		}
	}
	if err != nil {
		web.Problem(c, http.StatusBadRequest, err.Error())
		return
	}
	leave, crowded := l.streams.enter(c.Request.Context())
	if leave == nil {
		status, detail := http.StatusServiceUnavailable, fmt.Sprintf("all %d log streams are in use", maxStreams)
		if crowded {
			status, detail = http.StatusTooManyRequests, fmt.Sprintf("all %d log streams of this address are in use", maxStreamsPerSource)
		}
		c.Header("Retry-After", strconv.Itoa(int(streamRetry.Seconds())))
		web.Problem(c, status, detail)
		return
	}
	defer leave()
	c.Header("Content-Type", "text/event-stream")
	if c.Request.Method == http.MethodHead {
		return
	}
	cursor := l.log.End()
	if q.cursor != nil {
		cursor = *q.cursor
	}
	ending, end := context.WithTimeout(server.Ending(c.Request.Context()), l.life)
	defer end()
	s := &eventStream{w: c.Writer, control: http.NewResponseController(c.Writer), ending: ending}
	defer s.cutOff()()
	// server.read_timeout and write_timeout are for requests that end. A client
	// that has gone shows when it is written to.
	_ = s.control.SetReadDeadline(time.Time{})
	// The id lets a client resume that has seen no event yet.
	s.send("retry: %d\nid: %s\n\n", streamRetry.Milliseconds(), cursor)
	s.flush()
	l.follow(c.Request.Context(), s, cursor, q.level)
}

// follow sends until the client has gone, or the generation or the life of the
// stream ends. A stream keeps
// no records of its own: what the ring has no more when a slow client comes to
// it is a gap.
func (l logsResource) follow(ctx context.Context, s *eventStream, cursor log.Cursor, level logrus.Level) {
	heartbeat := time.NewTicker(streamHeartbeat)
	defer heartbeat.Stop()
	for s.err == nil && ctx.Err() == nil && s.ending.Err() == nil {
		// Before the look, so that no record falls between the two.
		changed := l.log.Changed()
		page := l.log.After(cursor, level, logBatch)
		if page.Reset || page.Missed > 0 {
			s.send("event: gap\ndata: {\"missed\":%d,\"reset\":%t}\n\n", page.Missed, page.Reset)
		}
		for _, r := range page.Records {
			s.send("id: %s\nevent: log\ndata: %s\n\n", page.Next.At(r), l.json(r))
		}
		if page.Next != cursor {
			cursor = page.Next
			s.flush()
			continue // there may be more
		}
		select {
		case <-ctx.Done():
		case <-s.ending.Done():
		case <-changed:
		case <-heartbeat.C:
			// A comment, and how far the client is: records that its level
			// hides are none that it has missed.
			s.send(":\nid: %s\n\n", cursor)
			s.flush()
		}
	}
}

// eventStream writes until ending ends, and keeps the first error.
type eventStream struct {
	w       io.Writer
	control *http.ResponseController
	ending  context.Context
	err     error
}

func (s *eventStream) send(format string, args ...any) {
	if s.err == nil {
		s.err = s.control.SetWriteDeadline(time.Now().Add(streamWrite))
	}
	if s.err == nil {
		// After the deadline was set: else it could undo that of cutOff.
		s.err = s.ending.Err()
	}
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format, args...)
	}
}

func (s *eventStream) flush() {
	if s.err == nil {
		s.err = s.control.Flush()
	}
}

// cutOff makes a write that hangs when ending ends fail soon afterwards. What
// it returns undoes that, and is called before the handler returns.
func (s *eventStream) cutOff() (undo func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(s.ending, func() {
		defer close(done)
		_ = s.control.SetWriteDeadline(time.Now().Add(streamEnd))
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}
