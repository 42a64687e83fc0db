package app

import (
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

func TestRefusalsAreToldOfNowAndThen(t *testing.T) {
	reader, _ := device.NewReader(os.DirFS("/"))
	logs := &servicetest.Buffer{}
	log := servicetest.TextLogger(logs)
	r := newRecorder(log, reader, nil, config.Labels(nil))
	w := crowd{log: log, events: r.events}
	now := time.Now()
	for i, s := range []server.Stats{
		{}, {Refused: 1, PerSource: 1}, {Refused: 500, PerSource: 1}, {Refused: 600, PerSource: 1, Slow: 2}, {Refused: 600, PerSource: 1, Slow: 2},
	} {
		w.watch(now.Add(time.Duration(i)*8*time.Second), s) // 0, 8, 16, 24 and 32 s
	}
	w.watch(now.Add(crowdEvents+8*time.Second), server.Stats{Refused: 600, PerSource: 1, Slow: 2})
	var lines []string
	for line := range strings.Lines(logs.String()) {
		_, text, _ := strings.Cut(line, `msg="`)
		lines = append(lines, strings.Join(strings.Fields(text)[:1], ""))
	}
	if want := []string{"1", "599"}; !slices.Equal(lines, want) {
		t.Errorf("logged %q, want %q: %s", lines, want, logs)
	}
	items := recorded(t, r)
	if len(items) != 2 || items[0].Kind != events.Crowded || items[0].Fields["refused"] != "1" || items[1].Fields["refused"] != "599" {
		t.Errorf("events %+v", items)
	}
}

// A client that takes all the places it may have is logged, recorded and counted,
// and one at another address is served.
func TestRefusedConnectionsAreToldOf(t *testing.T) {
	s := launch(t, strings.Replace(quick, "127.0.0.1:0", "0.0.0.0:0", 1)+"max_connections_per_source = 2\n")
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.url, "http://"))
	greedy := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	for range 5 {
		conn, err := greedy.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	s.url = "http://127.0.0.1:" + port
	s.wantLogged("level=warning", "3 of them because their address had too many")
	if _, body := s.get("/api/v1/system/status"); !strings.Contains(body, `"refused_total":3,"refused_per_source_total":3,`) {
		t.Errorf("status: %s", body)
	}
	if !slices.Contains(kinds(s.events()), events.Crowded) {
		t.Error("no event")
	}
}
