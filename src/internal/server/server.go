// Package server owns the listening sockets and the connections: one accept
// loop per socket, the connection limit, and the generation that serves.
package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/problem"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/trace"
)

const (
	// acceptPoll is how long an accept loop waits for a connection before it
	// beats again, acceptLimit how long it may go without a beat. The
	// difference is slack for a busy processor.
	acceptPoll  = time.Second
	acceptLimit = 4 * time.Second

	// refuseTimeout and maxRefusing bound what connections over the limit
	// cost: a client that sends nothing is gone after the time, and when this
	// many wait, the next ones are closed without an answer.
	refuseTimeout = time.Second
	maxRefusing   = 16
)

// Server holds the sockets and the generation in force.
type Server struct {
	log    *logrus.Logger
	health *health.Registry
	failed func(error)

	generation atomic.Pointer[Generation]
	active     atomic.Int64
	refused    atomic.Uint64
	refusing   chan struct{}

	mu       sync.Mutex
	sockets  []*socket
	retiring map[*Generation]struct{}
	wg       sync.WaitGroup // refusals and retiring generations
}

// Stats are the figures of the connections. Limit is max_connections.
type Stats struct {
	Active  int64
	Limit   int
	Refused uint64
}

// New returns a server without sockets. failed is told when an accept loop
// ends although nobody closed its socket.
func New(log *logrus.Logger, registry *health.Registry, failed func(error)) *Server {
	return &Server{
		log:      log,
		health:   registry,
		failed:   failed,
		refusing: make(chan struct{}, maxRefusing),
		retiring: map[*Generation]struct{}{},
	}
}

// Generation returns the one in force, nil before the first Swap.
func (s *Server) Generation() *Generation { return s.generation.Load() }

// Stats returns the figures of now.
func (s *Server) Stats() Stats {
	stats := Stats{Active: s.active.Load(), Refused: s.refused.Load()}
	if g := s.generation.Load(); g != nil {
		stats.Limit = g.Config.Server.MaxConnections
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
		change.opened = append(change.opened, &socket{listener: l})
	}
	return change, nil
}

// Swap puts a generation into force, and the sockets of change when it is not
// nil. It cannot fail. The generation before it finishes its running requests
// in the background, for its drain_timeout at most.
func (s *Server) Swap(g *Generation, change *Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.generation.Swap(g)
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
	if old == nil {
		return
	}
	s.retiring[old] = struct{}{}
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), old.Config.Server.DrainTimeout)
		defer cancel()
		if err := old.shutdown(ctx); err != nil {
			s.log.WithField("generation", old.Number).Warn("requests of the configuration before the reload were cut off after its drain_timeout")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.retiring, old)
	})
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
// the server is left.
func (s *Server) Drain(ctx context.Context) error {
	s.CloseSockets()
	s.mu.Lock()
	generations := make([]*Generation, 0, len(s.retiring)+1)
	for g := range s.retiring {
		generations = append(generations, g)
	}
	s.mu.Unlock()
	if g := s.generation.Load(); g != nil {
		generations = append(generations, g)
	}
	var cut atomic.Bool
	var wg sync.WaitGroup
	for _, g := range generations {
		wg.Go(func() {
			if g.shutdown(ctx) != nil {
				cut.Store(true)
			}
		})
	}
	wg.Wait()
	s.wg.Wait()
	if cut.Load() {
		return errors.New("running requests were cut off: they took longer than server.drain_timeout")
	}
	return nil
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

// take hands a connection to the generation in force, or refuses it when it
// is one too many.
func (s *Server) take(conn net.Conn) {
	limit := s.generation.Load().Config.Server.MaxConnections
	if s.active.Add(1) > int64(limit) {
		s.active.Add(-1)
		s.refused.Add(1)
		select {
		case s.refusing <- struct{}{}:
			s.wg.Go(func() {
				refuse(conn, limit)
				<-s.refusing
			})
		default:
			_ = conn.Close()
		}
		return
	}
	// No end of its own: the sockets close before the generation in force does.
	if s.hand(&trackedConn{Conn: conn, active: &s.active}, nil) != nil {
		s.active.Add(-1)
		_ = conn.Close()
	}
}

// hand passes a connection to the generation in force. A swap meanwhile closes
// the inbox of the one before; the connection then goes to its successor.
func (s *Server) hand(conn *trackedConn, stop <-chan struct{}) error {
	for {
		g := s.generation.Load()
		if g == nil {
			return net.ErrClosed
		}
		conn.open = &g.open
		g.open.Add(1)
		err := g.inbox.hand(conn, stop)
		if err == nil {
			return nil
		}
		g.open.Add(-1)
		if !errors.Is(err, net.ErrClosed) || s.generation.Load() == g {
			return err
		}
	}
}

// trackedConn is a connection that counts until it is closed.
type trackedConn struct {
	net.Conn
	self   bool          // of SelfRequest
	active *atomic.Int64 // against the limit; nil when self
	open   *atomic.Int64 // of its generation
	once   sync.Once
}

func (c *trackedConn) Close() error {
	c.once.Do(func() {
		c.open.Add(-1)
		if !c.self {
			c.active.Add(-1)
		}
	})
	return c.Conn.Close()
}

// CloseWrite lets net/http end a response before it closes, so that a client
// which still sends (413) reads the answer and not a reset.
func (c *trackedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// refuse answers 503 and closes. It reads the head of the request first and
// what follows afterwards: an answer before the question confuses clients, and
// closing with unread data resets the connection before they see the answer.
func refuse(conn net.Conn, limit int) {
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
	detail := fmt.Sprintf("all %d connections are in use", limit)
	body := problem.New(http.StatusServiceUnavailable, detail, "", id).JSON()
	_ = conn.SetDeadline(time.Now().Add(refuseTimeout))
	_, err := fmt.Fprintf(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: %s\r\nContent-Length: %d\r\n"+
		"Retry-After: 1\r\nX-Request-Id: %s\r\nConnection: close\r\n\r\n", problem.ContentType, len(body), id)
	if err != nil {
		return
	}
	if !bytes.HasPrefix(head, []byte("HEAD ")) {
		if _, err := conn.Write(body); err != nil {
			return
		}
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
}
