package server

import (
	"context"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
)

// Generation is one http.Server with its handler, built from one
// configuration. Connections come to it from the accept loops; a reload
// replaces it as a whole.
type Generation struct {
	Number uint64
	Config *config.Config

	http  *http.Server
	inbox *inbox
	open  atomic.Int64  // connections that it was handed and has not closed
	ended chan struct{} // closed when the goroutine of Serve has returned

	// EndStreams ends the context of Ending. Other requests go on.
	EndStreams context.CancelFunc
}

type endingKey struct{}

// Ending returns the context that ends when requests that would go on without
// an end have to: the generation that serves the request of ctx is replaced,
// or the service stops.
func Ending(ctx context.Context) context.Context {
	if ending, ok := ctx.Value(endingKey{}).(context.Context); ok {
		return ending
	}
	return context.Background() // no generation serves it
}

// NewGeneration builds a generation and starts its serving goroutine, which
// ends with Server.Swap to a later one, Server.Drain or Close. errorLog takes
// what net/http has to say about connections.
func NewGeneration(number uint64, cfg *config.Config, handler http.Handler, errorLog io.Writer) *Generation {
	ending, endStreams := context.WithCancel(context.Background())
	g := &Generation{
		Number: number,
		Config: cfg,
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: cfg.Server.ReadHeaderTimeout,
			ReadTimeout:       cfg.Server.ReadTimeout,
			WriteTimeout:      cfg.Server.WriteTimeout,
			IdleTimeout:       cfg.Server.IdleTimeout,
			MaxHeaderBytes:    cfg.Server.MaxHeaderBytes,
			ErrorLog:          stdlog.New(errorLog, "", 0),
			// "OPTIONS *" would be answered past the handler.
			DisableGeneralOptionsHandler: true,
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				ctx = context.WithValue(ctx, endingKey{}, ending)
				if c.(*trackedConn).self {
					return context.WithValue(ctx, selfKey{}, true)
				}
				return ctx
			},
		},
		inbox:      newInbox(),
		ended:      make(chan struct{}),
		EndStreams: endStreams,
	}
	go func() {
		defer close(g.ended)
		// The error says that the inbox was closed: Accept has no other.
		_ = g.http.Serve(g.inbox)
	}()
	return g
}

// Close drops a generation with all its connections, at once.
func (g *Generation) Close() {
	g.EndStreams()
	_ = g.inbox.Close()
	_ = g.http.Close()
	<-g.ended
}

// shutdown lets the requests of all its connections finish until ctx ends,
// then cuts off those that are left and returns the error of ctx.
//
// http.Server.Shutdown is not used: it drops a connection whose first request
// arrives after the call, so every reload under load would lose requests. Here
// each connection ends with its next answer, or when it sends none within
// read_header_timeout; those that idle between requests are closed at once.
func (g *Generation) shutdown(ctx context.Context) error {
	g.EndStreams()
	_ = g.inbox.Close()
	<-g.ended
	g.http.SetKeepAlivesEnabled(false)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	var err error
	for err == nil && g.open.Load() > 0 {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-ticker.C:
		}
	}
	_ = g.http.Close()
	return err
}

// inbox is the listener of a generation: it accepts what it is handed.
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
