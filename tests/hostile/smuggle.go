package hostile

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"time"
)

// smuggled is a request that stands where another reader of the same bytes sees
// a body. Nobody may answer it.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

// ambiguous are messages of which two readers may take different lengths. RFC
// 9112, sections 2.2, 5.2, 6.1 and 6.3, lets a server refuse them, or answer one
// request and close; obs-fold and a bare LF it may also take as they are meant.
var ambiguous = []struct {
	name, text string
	open       bool // the connection may stay open
}{
	{name: "Content-Length with Transfer-Encoding", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled},
	{name: "Transfer-Encoding with Content-Length", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 43\r\n\r\n0\r\n\r\n" + smuggled},
	{name: "two Content-Lengths", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 43\r\n\r\n" + smuggled},
	{name: "a list of Content-Lengths", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0, 43\r\n\r\n" + smuggled},
	{name: "a sign before the Content-Length", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: +0\r\n\r\n" + smuggled},
	{name: "a space before the colon", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length : 0\r\n\r\n" + smuggled},
	{name: "an unknown Transfer-Encoding", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n" + smuggled},
	{name: "two Transfer-Encodings", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled},
	{name: "Transfer-Encoding in HTTP/1.0", text: "POST /livez HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled},
	{name: "a folded Transfer-Encoding", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", open: true},
	{name: "bare LF", text: "GET /livez HTTP/1.1\nHost: localhost\n\n", open: true},
	{name: "a bare CR in a header", text: "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\rContent-Length: 43\r\n\r\n", open: true},
	{name: "two Hosts", text: "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: y\r\n\r\n" + smuggled},
	{name: "a chunk with a wrong end", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n" + smuggled},
	{name: "a negative chunk", text: "POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + smuggled},
}

// smuggle sends one of them and looks how many answers come and whether the
// connection ends.
func smuggle(ctx context.Context, c *target) error {
	// Each connection begins with another one.
	n := (int(c.work.opened.Load()) + c.number) % len(ambiguous)
	message := ambiguous[n]
	if err := c.send(message.text); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	reader := bufio.NewReader(c)
	answers := 0
	for ctx.Err() == nil {
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			if failureOf(err) == noAnswer && answers > 0 && !message.open {
				c.work.fault("%s: the connection stays open", message.name)
			}
			break
		}
		answers++
		if answer.StatusCode >= 500 && answer.StatusCode != http.StatusServiceUnavailable && answer.StatusCode != http.StatusNotImplemented {
			c.work.fault("%s: answered %s", message.name, answer.Status)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			break
		}
	}
	c.work.hear(message.name)
	if answers > 1 {
		c.work.fault("%s: %d answers", message.name, answers)
	}
	return nil
}
