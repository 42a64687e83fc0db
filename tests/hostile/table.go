package hostile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// The table. Where connections come from many addresses, no limit for a single
// one is in their way; where they come from one, that one must not shut others
// out.
var attacks = []attack{
	{name: "nothing", connections: 0, sources: 1},
	{name: "silence", connections: 300, sources: 60, over: true, use: wait("")},
	{name: "silence, one source", connections: 300, sources: 1, use: wait("")},
	{name: "silence, one IPv6 network", connections: 300, sources: 60, v6: true, use: wait("")},
	{name: "slow header, one source", connections: 300, sources: 1, use: slowHeader},
	{name: "slow header", connections: 240, sources: 60, use: slowHeader},
	{name: "slow body, one source", connections: 300, sources: 1, use: slowBody},
	{name: "slow body", connections: 240, sources: 60, use: slowBody},
	{name: "slow read", connections: 240, sources: 60, small: true, use: slowRead},
	{name: "tiny header lines, unfinished GET", connections: 256, sources: 64, use: wait("GET /livez HTTP/1.1\r\nHost: localhost\r\n" + tinyLines)},
	{name: "tiny header lines, POST without its body", connections: 256, sources: 64, use: wait(withoutBody + tinyLines + "\r\n")},
	{name: "header at the limit, POST without its body", connections: 256, sources: 64, use: wait(withoutBody + limitLines + "\r\n")},
	{name: "one long header line", connections: 256, sources: 64, use: wait(withoutBody + "X-Long: " + strings.Repeat("x", 19000) + "\r\n\r\n")},
	{name: "100-continue, never followed", connections: 256, sources: 64, use: wait("POST /livez HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")},
	{name: "chunks of one byte", connections: 64, sources: 16, use: tinyChunks},
	{name: "events, never read", connections: 240, sources: 60, small: true, use: neverRead("/api/v1/events?limit=1000", 1)},
	{name: "events, read", connections: 200, sources: 50, hold: 6 * time.Second, use: readAll("/api/v1/events?limit=1000")},
	{name: "logs, never read", connections: 240, sources: 60, small: true, use: neverRead("/api/v1/logs?limit=1000", 8)},
	{name: "document, never read", connections: 240, sources: 60, small: true, use: neverRead("/openapi.json", 32)},
	{name: "log streams, never read", connections: 64, sources: 16, small: true, use: neverRead("/api/v1/logs/stream", 1)},
	{name: "log streams, one source", connections: 64, sources: 1, small: true, use: neverRead("/api/v1/logs/stream", 1)},
	{name: "pipelining, read", connections: 32, sources: 16, use: pipeline},
	{name: "pipelining, never read", connections: 64, sources: 16, small: true, use: neverRead("/livez", 500)},
	{name: "connect flood", connections: 32, sources: 16, pause: 10 * time.Millisecond, use: hangUp("")},
	{name: "reset flood", connections: 32, sources: 16, pause: 10 * time.Millisecond, use: resetAfter("GET /livez HT", false)},
	{name: "reset amid an answer", connections: 32, sources: 16, pause: 10 * time.Millisecond, small: true, use: resetAfter(get("/api/v1/events?limit=1000"), true)},
	{name: "smuggling", connections: 16, sources: 16, pause: 50 * time.Millisecond, use: smuggle},
	{name: "HTTP/2 preface", connections: 64, sources: 16, use: wait("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")},
	{name: "TLS hello", connections: 64, sources: 16, use: wait(tlsHello)},
	{name: "idle keep-alive", connections: 256, sources: 64, over: true, use: idle},
	{name: "nothing but reloads", connections: 0, sources: 1, full: true, reloads: 1000, keepers: 16},
	{name: "vanished peers of log streams", connections: 16, sources: 8, small: true, vanish: true, hold: 100 * time.Second, full: true, use: neverRead("/api/v1/logs/stream", 1)},
	{name: "slowhttptest, headers", connections: 600, sources: 1, full: true, tool: &slowTest{mode: "-H", path: "/livez", args: []string{"-i", "1", "-x", "24"}}},
	{name: "slowhttptest, body", connections: 600, sources: 1, full: true, tool: &slowTest{mode: "-B", path: "/livez", args: []string{"-i", "1", "-s", "8192", "-x", "10"}}},
	{name: "slowhttptest, range", connections: 600, sources: 1, full: true, tool: &slowTest{mode: "-R", path: "/openapi.json", args: []string{"-a", "5", "-b", "3000"}}},
	{name: "slowhttptest, read", connections: 600, sources: 1, full: true, tool: &slowTest{mode: "-X", path: "/openapi.json", args: []string{"-k", "3", "-n", "1", "-w", "64", "-y", "128", "-z", "5"}}},
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n" }

const withoutBody = "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"

// tinyLines are as many header lines as fit into what the default configuration
// takes (16384 bytes, and 4096 that net/http adds), each with a name of its own:
// the map that net/http makes of them is 20 times as large.
var tinyLines = func() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	var b strings.Builder
	for n := 0; b.Len() < 20000; n++ {
		name := string(letters[n%36]) + string(letters[n/36%36])
		if n >= 36*36 {
			name += string(letters[n/36/36%36])
		}
		b.WriteString(name + ":\r\n")
	}
	return b.String()
}()

// limitLines are ordinary lines of 128 bytes, 16000 bytes of them.
var limitLines = func() string {
	var b strings.Builder
	for n := range 125 {
		line := fmt.Sprintf("X-Line-%03d: ", n)
		b.WriteString(line + strings.Repeat("v", 126-len(line)) + "\r\n")
	}
	return b.String()
}()

// tlsHello is the beginning of a TLS 1.2 handshake that announces more than it
// sends.
var tlsHello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x5a", 32) + "\x00\x00\x02\x13\x01\x01\x00"

// wait sends the text and then no more.
func wait(text string) func(context.Context, *target) error {
	return func(_ context.Context, c *target) error {
		// An answer may come before all is sent, and then a reset.
		_ = c.send(text)
		return c.await()
	}
}

func slowHeader(ctx context.Context, c *target) error {
	return c.drip(ctx, 300*time.Millisecond, func(n int) string {
		if n == 0 {
			return "GET /livez HTTP/1.1\r\nHost: localhost\r\n"
		}
		return fmt.Sprintf("X-%d: y\r\n", n)
	})
}

func slowBody(ctx context.Context, c *target) error {
	return c.drip(ctx, 300*time.Millisecond, func(n int) string {
		if n == 0 {
			return "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
		}
		return "x"
	})
}

// tinyChunks sends a body whose bytes cost six each, and as fast as this machine
// can spare.
func tinyChunks(ctx context.Context, c *target) error {
	return c.drip(ctx, 10*time.Millisecond, func(n int) string {
		if n == 0 {
			return "POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
		}
		return "1\r\nx\r\n"
	})
}

// slowRead reads 32 bytes at a time of answers that fill all buffers.
func slowRead(ctx context.Context, c *target) error {
	if err := c.send(strings.Repeat(get("/openapi.json"), 16)); err != nil {
		return err
	}
	buffer := make([]byte, 32)
	for ctx.Err() == nil {
		if _, err := c.Read(buffer); err != nil {
			return err
		}
		sleep(ctx, 300*time.Millisecond)
	}
	return nil
}

func neverRead(path string, times int) func(context.Context, *target) error {
	text := strings.Repeat(get(path), times)
	return func(ctx context.Context, c *target) error {
		// More than fits is not taken; the deadline ends the attempt.
		_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
		_ = c.send(text)
		return c.ignore(ctx)
	}
}

// readAll asks again as soon as it has the answer.
func readAll(path string) func(context.Context, *target) error {
	text := get(path)
	return func(ctx context.Context, c *target) error {
		reader := bufio.NewReaderSize(c, 16<<10)
		for ctx.Err() == nil {
			if err := c.send(text); err != nil {
				return err
			}
			if closed, err := c.answer(reader); closed || err != nil {
				return err
			}
		}
		return nil
	}
}

// answer reads one and notes its status.
func (c *target) answer(reader *bufio.Reader) (closed bool, err error) {
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		return true, err
	}
	c.work.hear(fmt.Sprintf("HTTP/1.1 %s", answer.Status))
	if answer.StatusCode >= 500 && answer.StatusCode != http.StatusServiceUnavailable &&
		answer.StatusCode != http.StatusNotImplemented && answer.StatusCode != http.StatusHTTPVersionNotSupported {
		c.work.fault("answered %s", answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.Close, err
}

// pipeline sends 200 requests at once and reads their answers.
func pipeline(_ context.Context, c *target) error {
	const times = 200
	go func() { _ = c.send(strings.Repeat(get("/livez"), times)) }()
	reader := bufio.NewReader(c)
	for range times {
		if closed, err := c.answer(reader); closed || err != nil {
			return err
		}
	}
	return nil
}

// hangUp sends the text and closes in order.
func hangUp(text string) func(context.Context, *target) error {
	return func(_ context.Context, c *target) error {
		if err := c.send(text); err != nil {
			return err
		}
		return c.Close()
	}
}

// resetAfter sends the text and resets the connection, after the first byte of
// an answer or at once.
func resetAfter(text string, answered bool) func(context.Context, *target) error {
	return func(_ context.Context, c *target) error {
		if err := c.send(text); err != nil {
			return err
		}
		if answered {
			_ = c.SetReadDeadline(time.Now().Add(answerLimit))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				return err
			}
		}
		return c.reset()
	}
}

// idle makes one request and keeps its connection.
func idle(_ context.Context, c *target) error {
	reader := bufio.NewReader(c)
	if err := c.send(get("/livez")); err != nil {
		return err
	}
	if closed, err := c.answer(reader); closed || err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, reader)
	if err == nil {
		err = io.EOF
	}
	return err
}
