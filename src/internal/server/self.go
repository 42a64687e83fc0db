package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// IsSelf says whether a request comes from SelfRequest.
func IsSelf(ctx context.Context) bool {
	c := connOf(ctx)
	return c != nil && c.self
}

// SelfRequest sends GET path through the http.Server and the handlers that are
// in force, over a connection in memory. It needs no port, no name and no
// file descriptor, so it says something about this process alone, and it takes
// nothing that a client can take: no place of a connection, no memory of the
// budget, no turn. Status and body (64 KiB at most) are the answer's. The context
// must have a deadline.
func (s *Server) SelfRequest(ctx context.Context, path string) (status int, body []byte, err error) {
	client, server := net.Pipe()
	// Closing our end also ends a handler that writes to the other.
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	defer client.Close()

	if s.generation.Load() == nil {
		_ = server.Close()
		return 0, nil, net.ErrClosed
	}
	c := s.newConn(server, nil)
	c.self = true
	s.know(c)
	if err := s.inbox.hand(c, ctx.Done()); err != nil {
		_ = c.Close()
		if ctx.Err() != nil {
			return 0, nil, errors.New("the HTTP server takes no connection")
		}
		return 0, nil, err
	}
	if _, err = fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: gin-edged\r\nConnection: close\r\n\r\n", path); err == nil {
		var response *http.Response
		if response, err = http.ReadResponse(bufio.NewReader(client), nil); err == nil {
			defer response.Body.Close()
			status = response.StatusCode
			body, err = io.ReadAll(io.LimitReader(response.Body, 64<<10))
		}
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no answer in time: %w", context.Cause(ctx))
	}
	return status, body, err
}
