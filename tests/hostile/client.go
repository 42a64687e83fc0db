package hostile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// place is where a client comes from and where it goes to.
type place struct {
	from    netip.Addr // zero: whatever the kernel takes
	service string     // address and port
}

// dial opens a connection. With a small window, what the other side sends stays
// with it when nobody reads.
func (p place) dial(ctx context.Context, small bool) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: answerLimit, KeepAlive: -1}
	if p.from.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: p.from.AsSlice()}
	}
	d.ControlContext = func(_ context.Context, _, _ string, c syscall.RawConn) error {
		var err error
		controlErr := c.Control(func(fd uintptr) {
			if small {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048)
			}
			if err == nil && p.from.Is6() {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_IPV6, ipv6Freebind, 1)
			}
		})
		return errors.Join(controlErr, err)
	}
	conn, err := d.DialContext(ctx, "tcp", p.service)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

const (
	ipv6Freebind = 78 // linux/in6.h

	// answerLimit is how long an honest client waits.
	answerLimit = 5 * time.Second
	// restartLimit is how long one waits that knows of a restart.
	restartLimit = 30 * time.Second
)

// client is an http.Client of that place.
func (p place) client(keepAlive bool) *http.Client {
	return &http.Client{Timeout: answerLimit, Transport: &http.Transport{
		DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := p.dial(ctx, false)
			if err != nil {
				return nil, err // not conn: it would be a non-nil net.Conn
			}
			return conn, nil
		},
	}}
}

// times are those of an honest client's requests.
type times struct {
	mu     sync.Mutex
	took   []time.Duration
	failed map[string]int // by kind
}

func (s *times) add(took time.Duration, failure string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, took)
	if failure != "" {
		if s.failed == nil {
			s.failed = map[string]int{}
		}
		s.failed[failure]++
	}
}

// take returns what there is so far, and begins anew.
func (s *times) take() summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := summary{Requests: len(s.took), Failures: s.failed}
	slices.Sort(s.took)
	if n := len(s.took); n > 0 {
		sum.P50, sum.P99, sum.Longest = s.took[n/2], s.took[n*99/100], s.took[n-1]
	}
	for _, n := range s.failed {
		sum.Failed += n
	}
	s.took, s.failed = nil, nil
	return sum
}

// summary is what became of an honest client's requests.
type summary struct {
	Requests int            `json:"requests"`
	Failed   int            `json:"failed"`
	Failures map[string]int `json:"failures,omitempty"`
	P50      time.Duration  `json:"p50_ns"`
	P99      time.Duration  `json:"p99_ns"`
	Longest  time.Duration  `json:"longest_ns"`
}

// honest asks for /livez until ctx ends, each time over one kept connection
// and, more rarely, over a new one.
func honest(ctx context.Context, p place, s *times, done *sync.WaitGroup) {
	ask := func(keepAlive bool, pause time.Duration) {
		client := p.client(keepAlive)
		defer client.CloseIdleConnections()
		for ctx.Err() == nil {
			begin := time.Now()
			failure := askOnce(ctx, client, "http://"+p.service+"/livez")
			if ctx.Err() != nil {
				return
			}
			s.add(time.Since(begin), failure)
			sleep(ctx, pause)
		}
	}
	done.Go(func() { ask(true, 20*time.Millisecond) })
	done.Go(func() { ask(false, 50*time.Millisecond) })
}

func askOnce(ctx context.Context, client *http.Client, url string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	answer, err := client.Do(request)
	if err != nil {
		return failureOf(err)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	switch {
	case err != nil:
		return failureOf(err)
	case answer.StatusCode != http.StatusOK:
		return fmt.Sprint(answer.StatusCode)
	}
	return ""
}

const noAnswer = "no answer"

// failureOf names the kind of an error.
func failureOf(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "server closed idle connection"):
		return "closed"
	case errors.As(err, &timeout) && timeout.Timeout():
		return noAnswer
	}
	return err.Error()
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// --- clients that notice a lost request -----------------------------------------

// lossy counts the requests of keep-alive clients. One is lost when the
// connection answered before, said nothing of its end, and then gave no answer:
// no client may repeat such a request without knowing what it does.
type lossy struct {
	mu sync.Mutex
	k  kept
}

// kept is what became of the requests of keep-alive clients.
type kept struct {
	Requests int            `json:"requests"`
	Lost     map[string]int `json:"lost"`    // by kind of client, and how
	Others   int            `json:"others"`  // answers other than 200, which are not lost
	Refused  int            `json:"refused"` // first requests of connections that were answered 503, or not at all
}

func (k *kept) lost() int {
	n := 0
	for _, times := range k.Lost {
		n += times
	}
	return n
}

func (l *lossy) kept() *kept {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &l.k
}

func (l *lossy) count(kind, failure string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.k.Requests++
	if failure != "" {
		if l.k.Lost == nil {
			l.k.Lost = map[string]int{}
		}
		l.k.Lost[kind+": "+failure]++
	}
}

func (l *lossy) other() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.k.Others++
}

func (l *lossy) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.k.Refused++
}

// habits are the ways in which a client uses its connection.
var habits = []habit{
	{name: "busy"},
	{name: "pausing", pause: 3 * time.Millisecond},
	{name: "in the middle of a header", split: 10, pause: 5 * time.Millisecond},
	{name: "pipelining", pipelined: 4, pause: 3 * time.Millisecond},
}

type habit struct {
	name      string
	pause     time.Duration // between two requests; within one, where it is split
	split     int           // bytes of a request that are sent before the pause
	pipelined int           // requests that are sent at once; 0 is one
}

const request = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"

// keep makes requests over connections that it keeps until ctx ends.
func (h habit) keep(ctx context.Context, p place, l *lossy) {
	for ctx.Err() == nil {
		conn, err := p.dial(ctx, false)
		if err != nil {
			sleep(ctx, 50*time.Millisecond)
			continue
		}
		h.use(ctx, conn, l)
		_ = conn.Close()
	}
}

// use makes requests until the connection ends.
func (h habit) use(ctx context.Context, conn net.Conn, l *lossy) {
	reader := bufio.NewReader(conn)
	together := max(1, h.pipelined)
	for served := 0; ctx.Err() == nil; {
		_ = conn.SetDeadline(time.Now().Add(restartLimit))
		text := strings.Repeat(request, together)
		if h.split > 0 {
			if _, err := io.WriteString(conn, text[:h.split]); err != nil {
				h.ended(ctx, l, served, err)
				return
			}
			text = text[h.split:]
			sleep(ctx, h.pause)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			h.ended(ctx, l, served, err)
			return
		}
		for range together {
			answer, err := http.ReadResponse(reader, nil)
			if err == nil {
				_, err = io.Copy(io.Discard, answer.Body)
			}
			if err != nil {
				h.ended(ctx, l, served, err)
				return
			}
			if answer.StatusCode == http.StatusServiceUnavailable && served == 0 {
				l.refuse()
				sleep(ctx, 50*time.Millisecond)
				return
			}
			served++
			l.count(h.name, "")
			if answer.StatusCode != http.StatusOK {
				l.other()
			}
			// It says that what was pipelined behind is to be asked again.
			if answer.Close {
				return
			}
		}
		if h.split == 0 {
			sleep(ctx, h.pause)
		}
	}
}

func (h habit) ended(ctx context.Context, l *lossy, served int, err error) {
	switch {
	case ctx.Err() != nil: // the row is over
	case served == 0:
		l.refuse()
		sleep(ctx, 50*time.Millisecond)
	default:
		l.count(h.name, failureOf(err))
	}
}
