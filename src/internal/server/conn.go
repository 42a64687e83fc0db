package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// rateGrace is how long a client may do nothing. What it does faster than
	// server.min_rate earns it no more: who stops is cut off after this, however
	// much came before.
	rateGrace = 5 * time.Second

	// A write that waits looks this often whether its client reads.
	writeSlice = 2 * time.Second

	// lingerTimeout bounds how long a connection is kept after its last answer so
	// that a client which still sends reads the answer and not a reset (RFC 9112,
	// section 9.6), maxLingering how many are.
	lingerTimeout = time.Second
	maxLingering  = 32

	// readBuffer is net/http's buffer of a connection. A header up to this needs
	// no other.
	readBuffer = 4 << 10
)

// phase is what a connection is doing.
type phase int

const (
	fresh     phase = iota // no byte has come
	idle                   // between two requests
	reading                // a header has begun
	parsing                // net/http has the header
	answering              // a handler has the request, or its answer is sent
	closed
)

var (
	errCut      = errors.New("the connection was cut off")
	errRefused  = errors.New("the request was refused")
	errBodyLeft = errors.New("the handler has ended without this body")
)

// conn is a connection as net/http sees it. It stands between the two because
// net/http bounds neither what a header costs nor how slowly a client may be, has
// answers of its own that are not those of this API, and takes its timeouts once
// and for all: the timeouts of net/http are not used, a reload changes those
// here.
//
// net/http reads with one goroutine at a time; what is used by Read alone has no
// lock.
type conn struct {
	net.Conn
	server *Server
	self   bool    // of SelfRequest
	source *source // nil: not to be limited
	raw    syscall.RawConn
	held   atomic.Int64 // bytes charged beyond those of an idle connection
	once   sync.Once

	mu         sync.Mutex // never held while a client is waited for
	phase      phase
	since      time.Time // when the phase began
	moved      int64     // bytes received in this phase
	pace       time.Time // until when the next of them must have come
	generation *Generation
	turns      chan struct{} // where the request has a place
	handling   *http.Request // that a handler has; nil when none does
	ownPace    bool          // it sets the deadlines of its answer itself
	readLimit  time.Time     // set by net/http or a handler; zero: none
	writeLimit time.Time     // of the answer
	readSet    time.Time     // the deadline in force below
	writeSet   time.Time
	waiting    bool // a write waits for the client
	ahead      bool // a read waits for what may never come
	retiring   bool // close when idle
	retireNew  bool // or when no byte has come at all
	cutOff     bool
	linger     bool          // the client may still be sending
	answered   bool          // by the server, in net/http's place
	written    int64         // of this answer
	taken      int64         // of it by the client, when that was looked at last
	blocked    time.Duration // that writes of it have waited
	credit     time.Duration // that they may still wait

	// Of Read.
	in      []byte // received and not handed out
	ready   int    // bytes of it that may be
	header  headerScanner
	last    headerScanner // of the request that was handed out
	body    int64         // bytes of the body to come; -1: its end is not known
	charged int64         // for in
}

type connKey struct{}

func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

func (s *Server) newConn(raw net.Conn, account *source) *conn {
	c := &conn{Conn: raw, server: s, source: account, since: time.Now()}
	if sys, ok := raw.(syscall.Conn); ok {
		c.raw, _ = sys.SyscallConn()
	}
	return c
}

func (c *conn) config() *Settings { return c.server.generation.Load().Settings }

// Read gives net/http a header when all of it has come, and of a body what comes
// but nothing beyond its end.
func (c *conn) Read(p []byte) (n int, err error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case c.body != 0:
		return c.readBody(p)
	case c.ready > 0:
		return c.handOut(p), nil
	case len(p) == 1:
		return c.readAhead(p)
	}
	return c.readHeader(p)
}

// handOut moves bytes from the buffer to net/http.
func (c *conn) handOut(p []byte) int {
	n := copy(p, c.in[:c.ready])
	c.ready -= n
	c.consume(n)
	return n
}

func (c *conn) consume(n int) {
	c.in = c.in[n:]
	if len(c.in) == 0 {
		c.in = nil
		c.giveBack(c.charged)
		c.charged = 0
	}
}

func (c *conn) readBody(p []byte) (n int, err error) {
	if c.body > 0 && int64(len(p)) > c.body {
		p = p[:c.body]
	}
	c.mu.Lock()
	left := c.linger
	// net/http waits with one byte for the end of a client whose body has ended.
	// Here a body of chunks has no end that is known.
	c.ahead = c.body < 0 && len(p) == 1
	c.mu.Unlock()
	switch {
	case left:
		return 0, errBodyLeft
	case len(c.in) > 0:
		n = copy(p, c.in)
		c.consume(n)
	default:
		n, err = c.receive(p)
	}
	if c.body > 0 {
		c.mu.Lock()
		c.body -= int64(n)
		c.mu.Unlock()
	}
	return n, err
}

// readAhead is net/http waiting for a sign of its client while a handler runs:
// the first byte of the next request, or the end of the connection.
func (c *conn) readAhead(p []byte) (n int, err error) {
	if len(c.in) > 0 {
		n = copy(p, c.in)
		c.consume(n)
	} else if n, err = c.receive(p); n == 0 {
		return n, err
	}
	if c.header.scan(p[:n]) >= 0 {
		c.last, c.header = c.header, headerScanner{}
	}
	return n, err
}

func (c *conn) readHeader(p []byte) (int, error) {
	limits := c.config()
	scanned := 0
	for {
		var data []byte
		var err error
		direct := len(c.in) == 0 && len(p) >= 512
		switch {
		case scanned < len(c.in):
			data = c.in[scanned:] // came with the request before
		case direct:
			var n int
			n, err = c.receive(p)
			data = p[:n]
		default:
			if err = c.grow(limits.MaxHeaderBytes); err == nil {
				var n int
				n, err = c.receive(c.in[len(c.in):cap(c.in)])
				data = c.in[len(c.in) : len(c.in)+n]
				c.in = c.in[:len(c.in)+n]
			}
		}
		if err != nil {
			if len(data) == 0 {
				return 0, err
			}
			// The error comes again with the next read.
		}
		end := c.header.scan(data)
		if c.header.size > limits.MaxHeaderBytes || c.header.lines > limits.MaxHeaderLines {
			return 0, c.refuse(http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf(
				"the header is larger than server.max_header_bytes (%d), or has more lines than server.max_header_lines (%d)", limits.MaxHeaderBytes, limits.MaxHeaderLines))
		}
		if end < 0 && !plausible(firstOf(c.in, data)) {
			end = len(data) // for net/http to refuse
		}
		switch {
		case end >= 0:
			c.last, c.header = c.header, headerScanner{}
			if err := c.admit(); err != nil {
				return 0, err
			}
			if direct {
				if end < len(data) {
					c.keep(data[end:])
				}
				return end, nil
			}
			c.ready = scanned + end
			return c.handOut(p), nil
		case direct:
			c.keep(data)
		}
		scanned = len(c.in)
	}
}

func firstOf(a, b []byte) []byte {
	if len(a) > 0 {
		return a
	}
	return b
}

// keep puts what does not go to net/http yet into the empty buffer. It has come
// and is there, whether it fits or not: a request that does not is not admitted.
func (c *conn) keep(data []byte) {
	c.in = append(make([]byte, 0, max(512, 2*len(data))), data...)
	c.charged = int64(cap(c.in))
	c.held.Add(c.charged)
	if !c.self {
		c.server.memory.force(c.charged)
	}
}

// grow makes room in the full buffer for more of a header. It stays below three
// times the limit, which keep may have begun with.
func (c *conn) grow(limit int) error {
	if len(c.in) < cap(c.in) {
		return nil
	}
	size := max(2*len(c.in), readBuffer)
	if len(c.in) <= limit {
		size = min(size, limit+1) // one byte more tells that it is too large
	}
	more := int64(size) - c.charged
	if !c.self && !c.server.room(more, c) {
		return c.refuse(http.StatusServiceUnavailable, noMemory)
	}
	c.charged += more
	c.held.Add(more)
	c.in = append(make([]byte, 0, size), c.in...)
	return nil
}

// admit charges what the request will hold. It is given back when the next
// header is waited for, or the connection is closed.
func (c *conn) admit() error {
	c.mu.Lock()
	c.phase = parsing
	c.mu.Unlock()
	if c.self {
		return nil
	}
	n := requestBytesOf(c.last.size, c.last.lines)
	if !c.server.room(n, c) {
		return c.refuse(http.StatusServiceUnavailable, noMemory)
	}
	c.held.Add(n)
	return nil
}

// receive reads from the client, for as long as the phase allows.
func (c *conn) receive(p []byte) (int, error) {
	for {
		c.mu.Lock()
		if c.cutOff {
			c.mu.Unlock()
			return 0, errCut
		}
		limit := c.receiveLimit()
		if !limit.Equal(c.readSet) {
			_ = c.Conn.SetReadDeadline(limit)
			c.readSet = limit
		}
		c.mu.Unlock()
		n, err := c.Conn.Read(p)
		if n > 0 {
			c.received(n)
			return n, err
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && c.goOn() {
			continue
		}
		return n, err
	}
}

// receiveLimit is the time until which the next byte must have come. c.mu is held.
func (c *conn) receiveLimit() time.Time {
	s := c.config()
	var limit time.Time
	switch {
	case c.self:
	case c.phase == fresh:
		limit = c.since.Add(s.ReadHeaderTimeout)
		if c.retireNew {
			limit = aLongTimeAgo
		}
	case c.phase == idle:
		limit = c.since.Add(s.IdleTimeout)
		if c.retiring {
			limit = aLongTimeAgo
		}
	case c.phase <= parsing: // as a whole, which is rate enough
		limit = c.since.Add(s.ReadHeaderTimeout)
	case c.phase == answering && c.ahead:
		limit = c.since.Add(max(s.ReadTimeout, s.WriteTimeout))
	case c.phase == answering && c.body != 0:
		limit = earlier(c.since.Add(s.ReadTimeout), c.pace)
	}
	return earlier(limit, c.readLimit)
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// timeFor is how long so many bytes may take.
func timeFor(bytes int64, rate int) time.Duration {
	return time.Duration(float64(bytes) / float64(rate) * float64(time.Second))
}

// earlier returns the earlier of two deadlines, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (c *conn) received(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.phase < reading {
		c.enter(reading, now)
	}
	c.moved += int64(n)
	c.pace = earlier(now.Add(rateGrace), c.pace.Add(timeFor(int64(n), c.config().MinRate)))
}

// enter begins a phase. c.mu is held.
func (c *conn) enter(p phase, now time.Time) {
	c.phase, c.since, c.moved, c.pace = p, now, 0, now.Add(rateGrace)
}

// goOn says whether a read whose time is up goes on: the limit has moved
// meanwhile, or a connection that was to be closed as idle has a request in the
// kernel.
func (c *conn) goOn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retiring && c.phase <= idle && !c.cutOff && c.pending() {
		c.enter(reading, time.Now())
		return true
	}
	limit := c.receiveLimit()
	return !c.cutOff && (limit.IsZero() || limit.After(time.Now()))
}

// pending says whether bytes are there that nobody has read yet.
func (c *conn) pending() bool {
	found := false
	if c.raw != nil {
		_ = c.raw.Control(func(fd uintptr) {
			var b [1]byte
			n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			found = err == nil && n > 0
		})
	}
	return found
}

// SetReadDeadline is for net/http, which aborts a read with it, and for handlers.
// The limits of the phase hold beside it.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readLimit = t
	limit := c.receiveLimit()
	if limit.Equal(c.readSet) {
		return nil
	}
	c.readSet = limit
	return c.Conn.SetReadDeadline(limit)
}

// SetWriteDeadline is for handlers. It takes the place of server.write_timeout
// for the request.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeLimit = t
	// Not by one that has passed: with such, others cut an answer off.
	c.ownPace = c.ownPace || t.IsZero() || t.After(time.Now())
	if t.IsZero() || !c.writeSet.IsZero() && c.writeSet.Before(t) {
		return nil // the next write looks
	}
	c.writeSet = t
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Write sends a part of an answer. When no handler has the request, it is an
// answer of net/http's own.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	phase := c.phase
	c.mu.Unlock()
	if phase != answering {
		c.instead(p)
		return len(p), nil
	}
	done := 0
	for {
		if err := c.setSendLimit(); err != nil {
			return done, err
		}
		begin := time.Now()
		n, err := c.Conn.Write(p[done:])
		done += n
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			c.sent(n, 0)
			return done, err
		}
		switch c.sent(n, time.Since(begin)) {
		case late:
			return done, err
		case slow:
			c.server.slow.Add(1)
			c.cut()
			return done, errCut
		}
	}
}

// setSendLimit sets the deadline of the next write: that of the answer, or when
// to look whether the client reads.
func (c *conn) setSendLimit() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cutOff {
		return errCut
	}
	now := time.Now()
	limit := earlier(now.Add(writeSlice), c.writeLimit)
	if left := c.writeSet.Sub(now); left < writeSlice/2 || c.writeSet.After(limit) {
		_ = c.Conn.SetWriteDeadline(limit)
		c.writeSet = limit
	}
	return nil
}

// verdict on a client for which a write has waited.
type verdict int

const (
	good verdict = iota
	late         // the time for the answer is up
	slow         // it has taken too little for the time that writes have waited
)

func (c *conn) sent(n int, waited time.Duration) verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written += int64(n)
	c.blocked += waited
	c.waiting = waited > 0
	if waited == 0 {
		return good
	}
	// What is in the kernel is not taken yet.
	taken := max(c.taken, c.written-c.unacknowledged())
	c.credit = min(rateGrace, c.credit+timeFor(taken-c.taken, c.config().MinRate)) - waited
	c.taken = taken
	switch {
	case !c.writeLimit.IsZero() && !c.writeLimit.After(time.Now()):
		return late
	case c.credit < 0:
		return slow
	}
	return good
}

// unacknowledged is how many bytes the kernel holds for the client. c.mu is held.
func (c *conn) unacknowledged() int64 {
	n := 0
	if c.raw != nil {
		_ = c.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	}
	return int64(n)
}

// begin says that a handler gets the request.
func (c *conn) begin(g *Generation, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.enter(answering, now)
	c.generation = g
	c.written, c.taken, c.blocked, c.credit = 0, 0, 0, rateGrace
	c.waiting, c.linger = false, false
	c.writeLimit = time.Time{}
	if !c.self {
		c.writeLimit = now.Add(g.Settings.WriteTimeout)
	}
	if r.Body != nil && r.Body != http.NoBody {
		c.body = r.ContentLength // -1: chunked
	}
	c.handling, c.ownPace = r, false
	g.running.Add(1)
}

// finish says that the handler has ended. Of a body that it left nothing more is
// read.
func (c *conn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = c.body != 0
	c.handling = nil
}

// hung is for how long a handler has gone on although nothing that it reads or
// writes can make it wait any more; 0 when it has not. Of one that sets deadlines
// of its own, as a stream does, nobody knows: it may wait for something to send.
func (c *conn) hung(now time.Time) (time.Duration, *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handling == nil || c.ownPace || c.writeLimit.IsZero() {
		return 0, nil
	}
	return max(0, now.Sub(c.writeLimit)-c.generation.Settings.ReadTimeout), c.handling
}

// release ends what the request holds. c.mu is held.
func (c *conn) release() {
	if c.generation != nil {
		c.generation.running.Add(-1)
		c.generation = nil
	}
	if c.turns != nil {
		<-c.turns
		c.turns = nil
	}
	c.giveBack(c.held.Load() - c.charged)
}

func (c *conn) giveBack(n int64) {
	c.held.Add(-n)
	if !c.self {
		c.server.memory.give(n)
	}
}

// idle is between two requests.
func (c *conn) idle() {
	c.mu.Lock()
	c.release()
	c.enter(idle, time.Now())
	pipelined := len(c.in) > 0 || c.header.size > 0
	if pipelined {
		c.phase = reading
	}
	c.mu.Unlock()
	if pipelined {
		// It would go on for a whole time slice of the scheduler, 10 ms: hundreds of
		// requests, while those of others wait.
		runtime.Gosched()
	}
}

// retire ends the connection when, and as soon as, it is idle.
func (c *conn) retire() { c.retireWhen(idle) }

// retireWhen ends it as soon as it is in the phase. One whose first request has
// not begun is left to its time but for the sake of another.
func (c *conn) retireWhen(p phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retiring = true
	c.retireNew = c.retireNew || p == fresh
	if c.phase == idle || c.phase == fresh && c.retireNew {
		c.readSet = aLongTimeAgo
		_ = c.Conn.SetReadDeadline(aLongTimeAgo)
	}
}

// silent is for how long nothing has come since the connection was opened or its
// last request answered; 0 when it is not long enough to be closed for that.
func (c *conn) silent(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	silent := now.Sub(c.since)
	if c.self || c.retiring || c.phase == fresh && silent < freshAfter || c.phase == idle && silent < idleAfter || c.phase > idle {
		return 0
	}
	return silent
}

// rate is how many bytes per second the client has sent or taken since it is
// waited for; false when it is not, or not for long.
func (c *conn) rate(now time.Time) (float64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waited, moved := now.Sub(c.since), c.moved
	switch {
	case c.cutOff || c.held.Load() == 0:
		return 0, false
	case c.phase == reading || c.phase == answering && c.body != 0 && !c.linger:
	case c.phase == answering && c.waiting:
		waited, moved = c.blocked, c.taken
	default:
		return 0, false
	}
	if waited < cutAfter {
		return 0, false
	}
	return float64(moved) / waited.Seconds(), true
}

// cut ends the connection at once, with what the kernel holds for the client.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cutOff || c.phase == closed {
		return
	}
	c.cutOff, c.linger = true, false
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Conn.Close()
}

// Close ends the connection. A client that may still be sending gets the time to
// read its answer.
func (c *conn) Close() error {
	var err error
	c.once.Do(func() {
		c.mu.Lock()
		c.release()
		c.phase = closed
		linger := c.linger && !c.cutOff
		c.mu.Unlock()
		c.giveBack(c.held.Load())
		if linger {
			select {
			case c.server.lingering <- struct{}{}:
				c.server.wg.Go(func() {
					drainInput(c.Conn)
					_ = c.Conn.Close()
					<-c.server.lingering
					c.server.forget(c)
				})
				return
			default:
			}
		}
		err = c.Conn.Close()
		c.server.forget(c)
	})
	return err
}

// CloseWrite lets net/http end a response before it closes, so that a client
// which still sends (413) reads the answer and not a reset.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// drainInput ends the answer and reads what still comes, for a bounded time.
func drainInput(c net.Conn) {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingerTimeout))
	var sink [2 << 10]byte
	for {
		if _, err := c.Read(sink[:]); err != nil {
			return
		}
	}
}
