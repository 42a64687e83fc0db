package hostile

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	good    = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	closing = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
	busy    = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

// serve answers the requests of one connection in turn, and then closes it.
func serve(t *testing.T, answers ...string) place {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		reader := bufio.NewReader(conn)
		for _, answer := range answers {
			if _, err := http.ReadRequest(reader); err != nil {
				return
			}
			_, _ = io.WriteString(conn, answer)
		}
		// What the last answer did not announce is noticed with the next request.
		if _, err := http.ReadRequest(reader); err != nil {
			return
		}
	}()
	return place{netip.MustParseAddr("127.0.0.9"), ln.Addr().String()}
}

func TestLossyClients(t *testing.T) {
	for _, tc := range []struct {
		habit                   habit
		answers                 []string
		requests, lost, refused int
		others                  int
	}{
		{habit{name: "busy"}, []string{good, good}, 3, 1, 0, 0},
		{habit{name: "busy"}, []string{good, closing}, 2, 0, 0, 0},
		{habit{name: "busy"}, []string{good, busy}, 2, 0, 0, 1},
		{habit{name: "split", split: 10, pause: time.Millisecond}, []string{good}, 2, 1, 0, 0},
		{habit{name: "pipelining", pipelined: 3}, []string{good, closing}, 2, 0, 0, 0},
		{habit{name: "pipelining", pipelined: 3}, []string{good, good}, 3, 1, 0, 0},
		// A connection that never served anything was refused, not lost.
		{habit{name: "busy"}, nil, 0, 0, 1, 0},
		{habit{name: "busy"}, []string{busy}, 0, 0, 1, 0},
	} {
		p := serve(t, tc.answers...)
		conn, err := p.dial(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		if from := conn.LocalAddr().(*net.TCPAddr).IP.String(); from != "127.0.0.9" {
			t.Errorf("from %s", from)
		}
		var l lossy
		tc.habit.use(t.Context(), conn, &l)
		_ = conn.Close()
		if k := l.kept(); k.Requests != tc.requests || k.lost() != tc.lost || k.Refused != tc.refused || k.Others != tc.others {
			t.Errorf("%s, %d answers: %+v", tc.habit.name, len(tc.answers), *k)
		}
	}
}

func TestHonestClientCounts(t *testing.T) {
	var s times
	for n := range 200 {
		failure := ""
		if n%100 == 0 {
			failure = "reset"
		}
		s.add(time.Duration(200-n)*time.Millisecond, failure)
	}
	sum := s.take()
	if sum.Requests != 200 || sum.Failed != 2 || sum.Failures["reset"] != 2 || sum.P50 != 101*time.Millisecond || sum.P99 != 199*time.Millisecond || sum.Longest != 200*time.Millisecond {
		t.Errorf("%+v", sum)
	}
	if again := s.take(); again.Requests != 0 || again.Failed != 0 {
		t.Errorf("%+v", again)
	}
}

func TestFailureOf(t *testing.T) {
	for err, want := range map[error]string{
		&net.OpError{Err: syscall.ECONNRESET}:                  "reset",
		&net.OpError{Err: syscall.ECONNREFUSED}:                "refused",
		io.ErrUnexpectedEOF:                                    "closed",
		errors.New("http: server closed idle connection"):      "closed",
		context.DeadlineExceeded:                               "no answer",
		errors.New("something else that the table would show"): "something else that the table would show",
	} {
		if got := failureOf(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, a := range attacks {
		if names[a.name] || a.sources < 1 || a.connections > 0 && (a.use == nil) == (a.tool == nil) {
			t.Errorf("%s: twice, or without sources, or without something to do", a.name)
		}
		names[a.name] = true
	}
	for _, name := range shortForGuests {
		if !names[name] {
			t.Errorf("%q is for guests and not in the table", name)
		}
	}
	// max_header_bytes of the shipped configuration, and what net/http adds.
	if n := len(tinyLines); n < 20000 || n > 16384+4096 {
		t.Errorf("%d bytes of tiny lines", n)
	}
	lines := strings.Split(strings.TrimSuffix(tinyLines, "\r\n"), "\r\n")
	distinct := map[string]bool{}
	for _, line := range lines {
		distinct[line] = true
	}
	if len(distinct) != len(lines) || len(lines) < 3500 {
		t.Errorf("%d lines, %d different ones", len(lines), len(distinct))
	}
	if n := len(limitLines); n != 16000 {
		t.Errorf("%d bytes of ordinary lines", n)
	}
}

func TestFullEventLog(t *testing.T) {
	for name, content := range fullEventLog() {
		if len(content) > 256<<10 || len(content) < 255<<10 || strings.Count(string(content), "\xff\xfe\xfd\xfc") < 800 {
			t.Errorf("%s: %d bytes, %d events", name, len(content), strings.Count(string(content), "\xff\xfe\xfd\xfc"))
		}
	}
}
