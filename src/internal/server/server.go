// Package server owns the listening sockets and the connections: one accept
// loop per socket, the connection limit, and the generation that serves.
package server

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	lines "github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
)

const (
	// acceptPoll is how long an accept loop waits for a connection before it
	// beats again, acceptLimit how long it may go without a beat. The
	// difference is slack for a busy processor.
	acceptPoll  = time.Second
	acceptLimit = 4 * time.Second

	// userTimeout is how long a client may leave what was sent to it without an
	// acknowledgement (TCP_USER_TIMEOUT, tcp(7)): without it one that has vanished
	// keeps its place for a quarter of an hour.
	userTimeout = 45 * time.Second

	// sendBuffer and receiveBuffer bound what the kernel holds for a connection,
	// which counts as memory of the service. The kernel takes twice the number,
	// and grows its own choice to megabytes.
	sendBuffer    = 32 << 10
	receiveBuffer = 16 << 10

	// A connection that has been silent for so long since it was opened, or since
	// its last answer, is closed when its place is wanted; an accept loop waits so
	// long for that.
	freshAfter  = time.Second
	idleAfter   = 2 * time.Second
	makeRoomFor = 20 * time.Millisecond

	// cutAfter is how long a client must have been waited for before it may be cut
	// off for another one's sake.
	cutAfter = time.Second
)

// Server holds the sockets, the connections and the generation in force.
type Server struct {
	log    *logrus.Logger
	health *health.Registry
	failed func(error)

	generation atomic.Pointer[Generation]
	memory     budget
	sources    sources
	active     atomic.Int64 // connections against the limit
	open       atomic.Int64 // those of SelfRequest, too
	refused    atomic.Uint64
	crowded    atomic.Uint64
	rejected   atomic.Uint64
	slow       atomic.Uint64
	refusedLog logLimit
	refusing   chan struct{}
	lingering  chan struct{}
	draining   atomic.Bool

	http   *http.Server
	inbox  *inbox
	served chan struct{} // closed when the goroutine of Serve has returned

	connsMu sync.Mutex // held for a look at the list
	conns   map[*conn]struct{}

	mu      sync.Mutex
	sockets []*socket
	wg      sync.WaitGroup // refusals, last looks at connections, retiring generations
}

// Stats are the figures of the connections.
type Stats struct {
	Active    int64
	Limit     int    // max_connections
	Refused   uint64 // connections, because of a limit
	PerSource uint64 // those of them whose own source had too many
	Rejected  uint64 // requests that came to no resource: malformed, or over a limit
	Slow      uint64 // connections cut off: too slow, or the slowest when memory was short
	Sources   int    // that have a connection; trusted ones are not counted
	Memory    int64  // charged to the budget, in bytes
	Budget    int64
}

// New returns a server without sockets. failed is told when an accept loop
// ends although nobody closed its socket.
func New(log *logrus.Logger, registry *health.Registry, failed func(error)) *Server {
	s := &Server{
		log:       log,
		health:    registry,
		failed:    failed,
		sources:   sources{all: map[netip.Prefix]*source{}},
		refusing:  make(chan struct{}, maxRefusing),
		lingering: make(chan struct{}, maxLingering),
		inbox:     newInbox(),
		conns:     map[*conn]struct{}{},
	}
	s.http = &http.Server{
		Handler:  http.HandlerFunc(s.serveHTTP),
		ErrorLog: stdlog.New(lines.Lines(log, logrus.DebugLevel), "", 0),
		// Limits and timeouts are those of conn. net/http's must not be below.
		MaxHeaderBytes: 1 << 20,
		// "OPTIONS *" would be answered past the handler.
		DisableGeneralOptionsHandler: true,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				c.(*conn).idle()
			}
		},
	}
	return s
}

// Generation returns the one in force, nil before the first Swap.
func (s *Server) Generation() *Generation { return s.generation.Load() }

// Stats returns the figures of now.
func (s *Server) Stats() Stats {
	stats := Stats{
		Active: s.active.Load(), Refused: s.refused.Load(), PerSource: s.crowded.Load(),
		Rejected: s.rejected.Load(), Slow: s.slow.Load(),
		Sources: int(s.sources.count.Load()), Memory: s.memory.used.Load(), Budget: s.memory.limit.Load(),
	}
	if g := s.generation.Load(); g != nil {
		stats.Limit = g.Settings.MaxConnections
	}
	return stats
}

// Addrs returns the addresses of the open sockets.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var addrs []net.Addr
	for _, socket := range s.sockets {
		addrs = append(addrs, socket.listener.Addr())
	}
	return addrs
}

// listener is what *net.TCPListener and *net.UnixListener have in common.
type listener interface {
	net.Listener
	SetDeadline(time.Time) error
}

type socket struct {
	address  string // as configured; "" when systemd passed it
	listener listener
	stop     chan struct{}
	ended    chan struct{}
	loop     *health.Loop
	name     string
}

// Change is a set of sockets that Swap will make the current one.
type Change struct {
	address []string
	opened  []*socket
}

// Abort closes the sockets that the change has opened.
func (c *Change) Abort() {
	for _, socket := range c.opened {
		_ = socket.listener.Close()
	}
}

// Open opens the addresses ("IP:port") that are not open yet. It is all or
// nothing. source is where the addresses were configured, for the error.
func (s *Server) Open(addresses []string, source string) (*Change, error) {
	s.mu.Lock()
	current := slices.Clone(s.sockets)
	s.mu.Unlock()
	change := &Change{address: addresses}
	for _, address := range addresses {
		if slices.ContainsFunc(current, func(socket *socket) bool { return socket.address == address }) {
			continue
		}
		// For Go, "tcp" and 0.0.0.0 mean IPv6 as well; who writes 0.0.0.0 does not.
		network := "tcp"
		if ip, err := netip.ParseAddrPort(address); err == nil && ip.Addr().Is4() {
			network = "tcp4"
		}
		ln, err := net.Listen(network, address)
		if err != nil {
			change.Abort()
			return nil, listenError(address, source, current, err)
		}
		s.tune(ln)
		change.opened = append(change.opened, &socket{address: address, listener: ln.(listener)})
	}
	return change, nil
}

func listenError(address, source string, current []*socket, err error) error {
	_, port, _ := strings.Cut(address[strings.LastIndexByte(address, ']')+1:], ":")
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		for _, socket := range current {
			if strings.HasSuffix(socket.address, ":"+port) {
				return fmt.Errorf("listen on %s: address already in use by %s of this service itself: restart it to move between addresses of one port", address, socket.address)
			}
		}
		return fmt.Errorf("listen on %s: address already in use; another program holds port %s: stop it or change server.listen in %s", address, port, source)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s: permission denied; let systemd open port %s (gin-edged-http.socket) or change server.listen in %s", address, port, source)
	}
	var system *os.SyscallError
	if errors.As(err, &system) {
		err = system.Err
	}
	return fmt.Errorf("listen on %s: %w; change server.listen in %s", address, err, source)
}

// Adopt makes a change of sockets that systemd has opened. They stay for the
// life of the process.
func (s *Server) Adopt(listeners []net.Listener) (*Change, error) {
	change := &Change{}
	for _, ln := range listeners {
		l, ok := ln.(listener)
		if !ok {
			change.Abort()
			return nil, fmt.Errorf("socket %s from systemd is of type %T, not a stream socket", ln.Addr(), ln)
		}
		s.tune(ln)
		change.opened = append(change.opened, &socket{listener: l})
	}
	return change, nil
}

// tune sets the buffers that accepted connections inherit from their socket. Set
// later they would not hold for what has come by then.
func (s *Server) tune(ln net.Listener) {
	if err := setOptions(ln, func(fd int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer),
		)
	}); err != nil {
		s.log.WithError(err).Warnf("%s: the buffers of its connections cannot be limited", ln.Addr())
	}
}

// setOptions is for TCP; other sockets have no such options.
func setOptions(socket any, set func(fd int) error) error {
	switch socket.(type) {
	case *net.TCPListener, *net.TCPConn:
	default:
		return nil
	}
	raw, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = set(int(fd)) })
	return errors.Join(controlErr, err)
}

// Swap puts a generation into force, and the sockets of change when it is not
// nil. It cannot fail. Connections stay; the requests that the generation before
// it has begun finish with it in the background, for its drain_timeout at most.
func (s *Server) Swap(g *Generation, change *Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit, _ := g.Settings.Budget()
	s.memory.limit.Store(limit)
	old := s.generation.Swap(g)
	s.sources.setTurns(g.Settings.MaxRequestsPerSource)
	if s.served == nil {
		s.served = make(chan struct{})
		go func() {
			defer close(s.served)
			// The error says that the inbox was closed: Accept has no other.
			_ = s.http.Serve(s.inbox)
		}()
	}
	if change != nil {
		s.sockets = slices.DeleteFunc(s.sockets, func(socket *socket) bool {
			if slices.Contains(change.address, socket.address) {
				return false
			}
			socket.close()
			return true
		})
		for _, socket := range change.opened {
			s.start(socket)
		}
	}
	if old != nil {
		s.wg.Go(func() { s.retire(old) })
	}
}

// CloseSockets stops to accept and waits for the accept loops. Sockets of
// systemd stay open there and keep the connections that arrive meanwhile.
func (s *Server) CloseSockets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, socket := range s.sockets {
		socket.close()
	}
	s.sockets = nil
}

// Drain waits until the running requests have finished; those that have not
// when ctx ends are cut off, and the error says so. Afterwards no goroutine of
// the server is left, but those of handlers that do not return.
//
// http.Server.Shutdown is not used: it drops a connection whose first request
// arrives after the call, and one whose next request is on its way. Here each
// connection ends with its next answer, or when it sends none within
// read_header_timeout; those that idle between requests are closed at once.
func (s *Server) Drain(ctx context.Context) error {
	s.CloseSockets()
	s.draining.Store(true)
	if g := s.generation.Load(); g != nil {
		g.EndStreams()
	}
	for _, c := range s.list() {
		c.retire()
	}
	var err error
	if !wait(&s.open, time.Duration(math.MaxInt64), ctx.Done()) {
		err = errors.New("running requests were cut off: they took longer than server.drain_timeout")
	}
	s.end()
	return err
}

// Close drops everything at once.
func (s *Server) Close() {
	s.CloseSockets()
	if g := s.generation.Load(); g != nil {
		g.EndStreams()
	}
	s.end()
}

// end closes what is left.
func (s *Server) end() {
	_ = s.inbox.Close()
	s.mu.Lock()
	served := s.served
	s.mu.Unlock()
	if served != nil {
		<-served
	}
	s.cutAll(func(*conn) bool { return true })
	// Who was cut off notices at once, unless it is a handler that hangs.
	wait(&s.open, time.Second, nil)
	s.wg.Wait()
}

// start gives the socket its accept loop. s.mu is held.
func (s *Server) start(so *socket) {
	for n := 1; ; n++ {
		so.name = "accept-http"
		if n > 1 {
			so.name += "-" + strconv.Itoa(n)
		}
		if !slices.ContainsFunc(s.sockets, func(other *socket) bool { return other.name == so.name }) {
			break
		}
	}
	so.stop = make(chan struct{})
	so.ended = make(chan struct{})
	so.loop = s.health.Loop(so.name, acceptLimit)
	s.sockets = append(s.sockets, so)
	go func() {
		defer close(so.ended)
		defer so.loop.End()
		if err := s.accept(so); err != nil {
			s.failed(err)
		}
	}()
}

func (s *socket) close() {
	close(s.stop)
	_ = s.listener.Close()
	<-s.ended
}

// accept runs until the socket is closed. An error that Accept repeats, like
// "too many open files", brings no beat: when it does not pass, liveness ends.
func (s *Server) accept(socket *socket) error {
	failing := false
	for {
		if err := socket.listener.SetDeadline(time.Now().Add(acceptPoll)); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("%s: %w", socket.name, err)
		}
		conn, err := socket.listener.Accept()
		if err == nil {
			// Also when the stop has come meanwhile: who was accepted gets an answer.
			s.take(conn)
		}
		select {
		case <-socket.stop:
			return nil
		default:
		}
		switch {
		case err == nil:
			failing = false
			socket.loop.Beat()
		case errors.Is(err, os.ErrDeadlineExceeded):
			failing = false
			socket.loop.Beat()
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("%s: %w", socket.name, err)
		default:
			if !failing {
				s.log.WithError(err).Errorf("%s: no connection can be accepted", socket.name)
			}
			failing = true
			select {
			case <-socket.stop:
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// take hands a connection to net/http, or refuses it when it is one too many.
func (s *Server) take(raw net.Conn) {
	cfg := s.generation.Load().Settings
	ip := addressOf(raw.RemoteAddr())
	// Who comes over a socket that is not of IP is on this device.
	limit, isTrusted := cfg.MaxConnections, !ip.IsValid() || trusted(cfg.TrustedSources, ip)
	if isTrusted {
		limit += reservedConnections
	}
	if s.active.Add(1) > int64(limit) && !s.closeIdlest(int64(limit)) {
		s.active.Add(-1)
		s.refuse(raw, http.StatusServiceUnavailable, fmt.Sprintf("all %d connections are in use", cfg.MaxConnections))
		return
	}
	var account *source
	if !isTrusted {
		account = s.sources.enter(sourceOf(ip), cfg.ConnectionsPerSource(), cfg.MaxRequestsPerSource)
		if account == nil {
			s.active.Add(-1)
			s.crowded.Add(1)
			s.refuse(raw, http.StatusTooManyRequests, fmt.Sprintf("all %d connections of this address are in use", cfg.ConnectionsPerSource()))
			return
		}
	}
	if !s.memory.take(connectionBytes) {
		s.active.Add(-1)
		if account != nil {
			s.sources.leave(account)
		}
		s.cutSlowest(nil) // for the next one: an accept loop does not wait
		s.refuse(raw, http.StatusServiceUnavailable, noMemory)
		return
	}
	if err := setOptions(raw, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	}); err != nil {
		// It has gone already; net/http notices.
		s.log.WithError(err).Debug("TCP_USER_TIMEOUT cannot be set")
	}
	c := s.newConn(raw, account)
	s.know(c)
	// No end of its own: the sockets close before the inbox does.
	if s.inbox.hand(c, nil) != nil {
		_ = c.Close()
	}
}

// refuse answers a connection that is one too many, as long as there are not too
// many of these.
func (s *Server) refuse(raw net.Conn, status int, detail string) {
	s.refused.Add(1)
	select {
	case s.refusing <- struct{}{}:
		s.wg.Go(func() {
			refuseConn(raw, status, detail)
			<-s.refusing
		})
	default:
		_ = raw.Close()
	}
}

// know notes a connection, forget what it has taken. Both are called once.
func (s *Server) know(c *conn) {
	s.open.Add(1)
	s.connsMu.Lock()
	defer s.connsMu.Unlock()
	s.conns[c] = struct{}{}
}

func (s *Server) forget(c *conn) {
	s.connsMu.Lock()
	delete(s.conns, c)
	s.connsMu.Unlock()
	if !c.self {
		if c.source != nil {
			s.sources.leave(c.source)
		}
		s.memory.give(connectionBytes)
		s.active.Add(-1)
	}
	s.open.Add(-1)
}

func (s *Server) list() []*conn {
	s.connsMu.Lock()
	defer s.connsMu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

// closeIdlest closes the connection that has been silent for the longest time, and
// says whether that has made room: one that waits for nothing is the least loss
// when all places are taken.
func (s *Server) closeIdlest(limit int64) bool {
	var idlest *conn
	var longest time.Duration
	now := time.Now()
	for _, c := range s.list() {
		if silent := c.silent(now); silent > longest {
			idlest, longest = c, silent
		}
	}
	if idlest == nil {
		return false
	}
	idlest.retireWhen(fresh)
	for deadline := now.Add(makeRoomFor); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if s.active.Load() <= limit {
			return true
		}
	}
	return s.active.Load() <= limit
}

// Hung names the handler that has gone on for the longest time beyond
// server.read_timeout and write_timeout, or is nil. No client can make one do so:
// its reads and writes end with these.
func (s *Server) Hung() error {
	var longest time.Duration
	var request *http.Request
	now := time.Now()
	for _, c := range s.list() {
		if d, r := c.hung(now); d > longest {
			longest, request = d, r
		}
	}
	if request == nil {
		return nil
	}
	const most = 64
	return fmt.Errorf("the handler of %s %.*q has gone on for %.0f s beyond server.read_timeout and write_timeout", request.Method, most, request.URL.Path, longest.Seconds())
}

// cutAll cuts off the connections for which is says true. It holds their lock.
func (s *Server) cutAll(is func(*conn) bool) {
	for _, c := range s.list() {
		c.mu.Lock()
		found := is(c)
		c.mu.Unlock()
		if found {
			c.cut()
		}
	}
}

// room charges n bytes for a connection. When they are not there, the slowest of
// the others make way.
func (s *Server) room(n int64, newcomer *conn) bool {
	if s.memory.take(n) {
		return true
	}
	for s.cutSlowest(newcomer) {
		for range 20 { // it takes a moment until the one that was cut off notices
			if s.memory.take(n) {
				return true
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return false
}

// cutSlowest cuts off the connection that has sent or taken the least for the
// time that it was waited for, unless all are fast.
func (s *Server) cutSlowest(but *conn) bool {
	var slowest *conn
	least := math.Inf(1)
	now := time.Now()
	for _, c := range s.list() {
		if c == but || c.self {
			continue
		}
		if rate, ok := c.rate(now); ok && rate < least {
			slowest, least = c, rate
		}
	}
	if slowest == nil {
		return false
	}
	s.slow.Add(1)
	slowest.cut()
	return true
}

// serveHTTP is the handler of net/http: it gives the request to the generation
// in force.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	c := connOf(r.Context())
	g := s.generation.Load()
	c.begin(g, r)
	defer c.finish()
	if s.draining.Load() || r.ContentLength < 0 {
		// The end of a body of chunks is net/http's to find. To take the next
		// request from behind it is what smuggling is made of, above all when there
		// was a Content-Length as well (RFC 9112, section 6.1).
		w.Header().Set("Connection", "close")
	}
	if c.source != nil {
		turns := c.source.turn(r.Context())
		if turns == nil {
			s.busy(w, r)
			return
		}
		c.mu.Lock()
		c.turns = turns
		c.mu.Unlock()
	}
	g.handler.ServeHTTP(w, r)
}
