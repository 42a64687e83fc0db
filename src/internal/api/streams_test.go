package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

// behindServer serves the API as the service does: with sources.
func behindServer(t *testing.T, p *Process, h http.Handler) (url string) {
	t.Helper()
	servicetest.NoLeaks(t)
	s := server.New(p.Log.Logger, p.Health, func(err error) { t.Error(err) })
	change, err := s.Open([]string{"0.0.0.0:0"}, "FILE")
	if err != nil {
		t.Fatal(err)
	}
	s.Swap(server.NewGeneration(1, server.DefaultSettings(), h), change)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Drain(ctx); err != nil {
			t.Error(err)
		}
	})
	_, port, _ := net.SplitHostPort(s.Addrs()[0].String())
	return "http://127.0.0.1:" + port
}

// clientAt is a client at an address of this machine.
func clientAt(t *testing.T, address string) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: d.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestOneSourceDoesNotTakeAllStreams(t *testing.T) {
	p := newProcess(t)
	url := behindServer(t, p, New(p, Settings{})) + "/api/v1/logs/stream"
	open := func(address string) *http.Response {
		request, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := clientAt(t, address).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Body.Close() })
		return r
	}
	for range maxStreamsPerSource {
		if r := open("127.0.0.2"); r.StatusCode != 200 {
			t.Fatalf("status %d", r.StatusCode)
		}
	}
	r := open("127.0.0.2")
	body, _ := io.ReadAll(r.Body)
	if r.StatusCode != 429 || r.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "all 3 log streams of this address are in use") {
		t.Errorf("one too many: %d %s", r.StatusCode, body)
	}
	last := open("127.0.0.3")
	if last.StatusCode != 200 || p.streams.Load() != maxStreamsPerSource+1 {
		t.Errorf("another source: %d, %d are open", last.StatusCode, p.streams.Load())
	}
	last.Body.Close()
	for deadline := time.Now().Add(10 * time.Second); p.streams.Load() > maxStreamsPerSource; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a stream whose client has gone still counts")
		}
	}
}

// A stream ends after its longest life, as one that ends with its generation: so
// that the client comes again.
func TestStreamsHaveALongestLife(t *testing.T) {
	p := newProcess(t)
	short := logsResource{p.Log, &p.streams, p.Public, 50 * time.Millisecond}
	url := behindServer(t, p, New(p, Settings{Routes: []edge.Route{
		{Method: http.MethodGet, Path: "/short", Role: edge.Anyone, Cost: edge.Endless, Handle: gin.HandlerFunc(short.stream)},
	}}))
	r, err := clientAt(t, "127.0.0.2").Get(url + "/short")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || !strings.HasPrefix(string(body), "retry: ") {
		t.Errorf("%q, %v", body, err)
	}
}
