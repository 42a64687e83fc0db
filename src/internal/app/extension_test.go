package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
)

// diary is what happens to an extension, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, ", ")
}

type pace struct{ Pace time.Duration }

func (p *pace) Keys() []edge.Key {
	return []edge.Key{keys.Duration("pace", &p.Pace, time.Second, time.Hour)}
}
func (p *pace) Check() error { return nil }

// The life of an extension, and that a reload which fails elsewhere is not taken
// over by it.
func TestLifeOfAnExtension(t *testing.T) {
	d := &diary{}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	extension := edge.Extension{
		Name:     "acme",
		Settings: func() edge.Settings { return &pace{Pace: time.Second} },
		Change: func(s edge.Settings) (func(), error) {
			p := s.(*pace).Pace
			d.add(fmt.Sprintf("asked for %v", p))
			return func() { d.add(fmt.Sprintf("has %v", p)) }, nil
		},
		Start: func(context.Context, *edge.Host) error { d.add("starts"); return nil },
		Loops: []edge.Loop{{Name: "loop", Limit: time.Minute, Run: func(ctx context.Context, _ func()) error {
			d.add("runs")
			<-ctx.Done()
			d.add("ends")
			return nil
		}}},
	}
	s := launchWith(t, quick, []edge.Extension{extension})
	s.write(quick + "[x.acme]\npace = \"5s\"\n")
	s.reload()
	s.write(strings.Replace(quick, "127.0.0.1:0", taken.Addr().String(), 1) + "[x.acme]\npace = \"7s\"\n")
	s.reload()
	if r := s.status().Config.LastReload; r.OK || !strings.Contains(r.Error, "address already in use") {
		t.Errorf("the last reload: %+v", r)
	}
	s.stop()
	if got, want := d.String(), "asked for 1s, has 1s, starts, runs, asked for 5s, has 5s, asked for 7s, ends"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestExtensionsThatRefuseTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte(quick), 0o600); err != nil {
		t.Fatal(err)
	}
	fail := func(context.Context, *edge.Host) error { return fmt.Errorf("no modem") }
	for want, extensions := range map[string][]edge.Extension{
		`extension "acme" does not start: no modem`: {{Name: "acme", Start: fail}},
		`extension "a": the name is not`:            {{Name: "a"}},
		`route GET /livez: it is there twice`:       {{Name: "acme", Routes: []edge.Route{{Method: "GET", Path: "/livez", Role: edge.Anyone, Summary: "x", Handle: takesBody.Handle}}}},
		`route GET /x: its Operation is not an obj`: {{Name: "acme", Routes: []edge.Route{{Method: "GET", Path: "/x", Role: edge.Anyone, Summary: "x", Operation: "[]", Handle: takesBody.Handle}}}},
	} {
		err := Run(t.Context(), Options{Layers: []config.Layer{{Path: file}}, Log: newLog(t, io.Discard), Root: os.DirFS("/"), Extensions: extensions})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// A product's handler that hangs is found, whether its client waits or not, and
// the watchdog is told which one it is.
func TestHandlerThatHangs(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	release := make(chan struct{})
	hangs := edge.Route{Method: "GET", Path: "/api/v1/x/acme/hangs", Role: edge.Anyone, Summary: "Hangs", Handle: func(*gin.Context) { <-release }}
	s := launchWith(t, quick+"read_header_timeout = \"500ms\"\nread_timeout = \"1s\"\nwrite_timeout = \"1s\"\n",
		[]edge.Extension{{Name: "acme", Routes: []edge.Route{hangs}}})
	t.Cleanup(func() { close(release) }) // before the service stops
	client := &http.Client{Timeout: 100 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	if _, err := client.Get(s.url + hangs.Path); err == nil {
		t.Fatal("it answers")
	}
	const want = `watchdog not fed: handlers: the handler of GET "/api/v1/x/acme/hangs" has gone on for `
	for deadline := time.Now().Add(20 * time.Second); !strings.HasPrefix(s.next(time.Second), "STATUS="+want); {
		if time.Now().After(deadline) {
			t.Fatalf("the watchdog is fed\n%s", s.logs)
		}
	}
	if code, _ := s.get("/livez"); code != http.StatusServiceUnavailable {
		t.Errorf("/livez answers %d", code)
	}
}
