package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/problem"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/trace"
)

const (
	// refuseTimeout and maxRefusing bound what connections over the limit
	// cost: a client that sends nothing is gone after the time, and when this
	// many wait, the next ones are closed without an answer.
	refuseTimeout = time.Second
	maxRefusing   = 16

	// So many refused requests are logged in a while; who floods does not fill
	// the log.
	refusedLogs     = 5
	refusedLogsTime = 10 * time.Second

	retryAfter = "1" // seconds

	noMemory = "the memory for requests is used up (server.memory_budget)"
)

// answerHead is what the answers of the server itself begin with; body is
// problem details.
func answerHead(status, length int, id string) string {
	retry := ""
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		retry = "Retry-After: " + retryAfter + "\r\n"
	}
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%sX-Request-Id: %s\r\n"+
		"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
		status, http.StatusText(status), problem.ContentType, length, retry, id)
}

// refuseConn answers and closes. It reads the head of the request first and
// what follows afterwards: an answer before the question confuses clients, and
// closing with unread data resets the connection before they see the answer.
func refuseConn(conn net.Conn, status int, detail string) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(refuseTimeout))
	head := make([]byte, 0, 2048)
	for len(head) < cap(head) && !bytes.Contains(head, []byte("\r\n\r\n")) {
		n, err := conn.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err != nil {
			break
		}
	}
	id := trace.NewRequestID()
	body := problem.New(status, detail, "", id).JSON()
	_ = conn.SetDeadline(time.Now().Add(refuseTimeout))
	if _, err := io.WriteString(conn, answerHead(status, len(body), id)); err != nil {
		return
	}
	if !bytes.HasPrefix(head, []byte("HEAD ")) {
		if _, err := conn.Write(body); err != nil {
			return
		}
	}
	drainInput(conn)
}

// refuse answers a request that net/http does not get, and returns the error
// that net/http gets instead of it. The connection ends.
func (c *conn) refuse(status int, detail string) error {
	c.answer(status, detail)
	return errRefused
}

// instead answers in the place of net/http, which has plain text for what no
// handler ever sees: its status, with a body like that of other errors.
func (c *conn) instead(plain []byte) {
	status, detail := parsePlain(plain)
	c.answer(status, detail)
}

// parsePlain reads an answer that net/http has made by itself: "HTTP/1.1 400 Bad
// Request", header, and "400 Bad Request: missing required Host header".
func parsePlain(plain []byte) (status int, detail string) {
	status = http.StatusBadRequest
	head, body, _ := strings.Cut(string(plain), "\r\n\r\n")
	if len(head) >= len("HTTP/1.1 400") && strings.HasPrefix(head, "HTTP/1.") {
		if n, err := strconv.Atoi(head[len("HTTP/1.1 "):len("HTTP/1.1 400")]); err == nil && n >= 400 && n < 600 {
			status = n
		}
	}
	text := http.StatusText(status)
	detail = strings.TrimPrefix(strings.TrimPrefix(body, fmt.Sprintf("%d %s", status, text)), ": ")
	switch {
	case detail != "":
	case status == http.StatusBadRequest:
		detail = "the request is not HTTP/1.1, or is malformed"
	case status == http.StatusExpectationFailed:
		detail = "the only expectation that can be met is 100-continue"
	default:
		detail = strings.ToLower(text)
	}
	return status, detail
}

// answer sends a problem as the last answer of the connection, once.
func (c *conn) answer(status int, detail string) {
	c.mu.Lock()
	if c.answered || c.cutOff {
		c.mu.Unlock()
		return
	}
	c.answered, c.linger = true, true
	head := c.header.head() || c.last.head()
	c.mu.Unlock()
	id := trace.NewRequestID()
	c.server.countRefused(status, detail, id, c.RemoteAddr())
	body := problem.New(status, detail, "", id).JSON()
	text := answerHead(status, len(body), id)
	if !head {
		text += string(body)
	}
	_ = c.Conn.SetWriteDeadline(time.Now().Add(refuseTimeout))
	_, _ = io.WriteString(c.Conn, text)
}

// busy answers a request whose source has all its turns.
func (s *Server) busy(w http.ResponseWriter, r *http.Request) {
	const status = http.StatusTooManyRequests
	id := trace.NewRequestID()
	detail := fmt.Sprintf("this address has %d requests that are worked on (server.max_requests_per_source), and they take longer than %v",
		s.generation.Load().Settings.MaxRequestsPerSource, turnTimeout)
	s.countRefused(status, detail, id, nil)
	body := problem.New(status, detail, r.URL.EscapedPath(), id).JSON()
	h := w.Header()
	h.Set("Content-Type", problem.ContentType)
	h.Set("Retry-After", retryAfter)
	h.Set("X-Request-Id", id)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// countRefused counts a request that no handler has seen, and logs it unless
// too many were.
func (s *Server) countRefused(status int, detail, id string, client net.Addr) {
	s.rejected.Add(1)
	left, ok := s.refusedLog.allow(time.Now())
	if !ok {
		return
	}
	entry := s.log.WithField("request_id", id).WithField("status", status)
	if client != nil {
		entry = entry.WithField("client", client.String())
	}
	if left > 0 {
		entry = entry.WithField("not_logged", left)
	}
	entry.Warn("request refused before it came to a resource: " + detail)
}

// logLimit lets so many records through in a while.
type logLimit struct {
	mu    sync.Mutex
	begin time.Time
	count int
	left  uint64 // out since the last one that was let through
}

// allow says whether a record may be logged now, and how many were not before it.
func (l *logLimit) allow(now time.Time) (left uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.begin) >= refusedLogsTime {
		l.begin, l.count = now, 0
	}
	if l.count >= refusedLogs {
		l.left++
		return 0, false
	}
	l.count++
	left, l.left = l.left, 0
	return left, true
}
