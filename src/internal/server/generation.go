package server

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Generation is one handler with the configuration that it was built from. A
// reload replaces it as a whole. Connections outlive it: each request goes to
// the generation that is in force when its header has come, so a reload loses
// none, wherever it is on its way.
type Generation struct {
	Number   uint64
	Settings *Settings

	handler http.Handler
	running atomic.Int64 // requests
	ending  context.Context

	// EndStreams ends the context of Ending. Other requests go on.
	EndStreams context.CancelFunc
}

// Ending returns the context that ends when requests that would go on without
// an end have to: the generation that serves the request of ctx is replaced,
// or the service stops.
func Ending(ctx context.Context) context.Context {
	if c := connOf(ctx); c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.generation != nil {
			return c.generation.ending
		}
	}
	return context.Background() // no generation serves it
}

// NewGeneration builds a generation. It ends with Server.Swap to a later one, or
// with the server.
func NewGeneration(number uint64, cfg *Settings, handler http.Handler) *Generation {
	g := &Generation{Number: number, Settings: cfg, handler: handler}
	g.ending, g.EndStreams = context.WithCancel(context.Background())
	return g
}

// retire lets the requests of a generation that was replaced finish, and cuts
// off those that have not by its drain_timeout.
func (s *Server) retire(g *Generation) {
	g.EndStreams()
	if wait(&g.running, g.Settings.DrainTimeout, nil) {
		return
	}
	s.cutAll(func(c *conn) bool { return c.generation == g })
	s.log.WithField("generation", g.Number).Warn("requests of the configuration before the reload were cut off after its drain_timeout")
}

// wait returns true when the count is 0, and false when the time is up or done
// is closed.
func wait(count *atomic.Int64, limit time.Duration, done <-chan struct{}) bool {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for count.Load() > 0 {
		select {
		case <-ticker.C:
		case <-timer.C:
			return false
		case <-done:
			return false
		}
	}
	return true
}

// inbox is the listener of net/http: it accepts what it is handed.
type inbox struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newInbox() *inbox {
	return &inbox{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// hand passes a connection to the serving goroutine. It fails when the inbox
// is closed, or when stop is before the goroutine took the connection.
func (in *inbox) hand(conn net.Conn, stop <-chan struct{}) error {
	select {
	case <-in.closed:
		return net.ErrClosed
	case <-stop:
		return context.Canceled
	case in.conns <- conn:
		return nil
	}
}

func (in *inbox) Accept() (net.Conn, error) {
	select {
	case <-in.closed:
		return nil, net.ErrClosed
	case conn := <-in.conns:
		return conn, nil
	}
}

func (in *inbox) Close() error {
	in.once.Do(func() { close(in.closed) })
	return nil
}

func (in *inbox) Addr() net.Addr { return inboxAddr{} }

type inboxAddr struct{}

func (inboxAddr) Network() string { return "inbox" }
func (inboxAddr) String() string  { return "inbox" }
