package server

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	reloads = flag.Int("reloads", 40, "how often TestReloadLosesNoRequest swaps the generation")
	clients = flag.Int("reload-clients", 16, "how many keep-alive clients it keeps busy")
)

// A client without retries, as many are: it keeps its connection until an answer
// says close, and counts each request that gets no answer.
type reloadClient struct {
	addr           string
	conn           net.Conn
	reader         *bufio.Reader
	requests, lost int
}

func (c *reloadClient) send(parts ...string) error {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			return err
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
		c.conn, c.reader = conn, bufio.NewReader(conn)
	}
	for i, part := range parts {
		if i > 0 {
			time.Sleep(3 * time.Millisecond) // reloads come meanwhile
		}
		if _, err := io.WriteString(c.conn, part); err != nil {
			return err
		}
	}
	return nil
}

// ask sends n requests and reads the answers.
func (c *reloadClient) ask(n int, parts ...string) {
	c.requests += n
	err := c.send(parts...)
	for answered := 0; err == nil && answered < n; answered++ {
		var r *http.Response
		if r, err = http.ReadResponse(c.reader, nil); err != nil {
			c.lost += n - answered
			break
		}
		if body, readErr := io.ReadAll(r.Body); readErr != nil || r.StatusCode != 200 || string(body) != "ok" {
			c.lost++
		}
		if r.Close {
			// What was pipelined behind it may be sent again (RFC 9112, section 9.3.2).
			c.requests -= n - answered - 1
			break
		}
		if answered < n-1 {
			continue
		}
		return
	}
	c.close()
}

func (c *reloadClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func TestReloadLosesNoRequest(t *testing.T) {
	local := netip.MustParsePrefix("127.0.0.0/8")
	f := newFixture(t, text("ok"), func(c *Settings) { c.TrustedSources = []netip.Prefix{local} })
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	kinds := []func(*reloadClient){
		func(c *reloadClient) { c.ask(1, request) },
		func(c *reloadClient) { c.ask(1, request[:10], request[10:20], request[20:]) },
		func(c *reloadClient) { c.ask(3, request+request+request) },
		func(c *reloadClient) { c.ask(2, request+request[:7], request[7:]) },
		func(c *reloadClient) { c.ask(1, request); time.Sleep(2 * time.Millisecond) },
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	all := make([]reloadClient, *clients)
	for i := range all {
		wg.Go(func() {
			c := &all[i]
			c.addr = f.addr
			defer c.close()
			for !stop.Load() && c.lost == 0 {
				kinds[i%len(kinds)](c)
			}
		})
	}
	for n := range *reloads {
		time.Sleep(5 * time.Millisecond)
		cfg := *f.cfg
		cfg.MaxRequestsPerSource = 1 + n%2
		f.Swap(NewGeneration(uint64(n+2), &cfg, text("ok")), nil)
	}
	stop.Store(true)
	wg.Wait()
	var requests, lost int
	kind := make([]string, len(kinds))
	for i := range all {
		requests += all[i].requests
		lost += all[i].lost
		if all[i].lost > 0 {
			kind[i%len(kinds)] = fmt.Sprint(i % len(kinds))
		}
	}
	t.Logf("%d reloads, %d clients: %d requests, %d lost", *reloads, *clients, requests, lost)
	if lost > 0 {
		t.Errorf("clients of kind %s lost a request", strings.Join(kind, " "))
	}
	if requests < *reloads {
		t.Errorf("only %d requests", requests)
	}
}
