package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

// A browser's header, 12 lines.
const benchRequest = "GET /api/v1/device HTTP/1.1\r\nHost: device.local\r\nConnection: keep-alive\r\n" +
	"sec-ch-ua: \"Chromium\";v=\"140\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
	"Accept: application/json\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n" +
	"Referer: http://device.local/ui/\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.9\r\n\r\n"

// BenchmarkKeepAlive is the way of a request through the server, without the
// API: connection, net/http, a handler of one line.
func BenchmarkKeepAlive(b *testing.B) {
	cfg := DefaultSettings()
	cfg.Listen = []string{"127.0.0.1:0"}
	s := New(servicetest.TextLogger(io.Discard), &health.Registry{}, func(error) {})
	change, err := s.Open(cfg.Listen, "FILE")
	if err != nil {
		b.Fatal(err)
	}
	s.Swap(NewGeneration(1, cfg, text("ok")), change)
	defer s.Drain(b.Context())
	conn, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.WriteString(conn, benchRequest); err != nil {
			b.Fatal(err)
		}
		response, err := http.ReadResponse(r, nil)
		if err != nil || response.StatusCode != 200 {
			b.Fatal(response, err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
