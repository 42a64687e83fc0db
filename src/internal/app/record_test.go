package app

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

// item is an event as the API shows it.
type item struct {
	events.Event
	Stored bool
}

func (s *service) events() (items []item) {
	s.t.Helper()
	_, body := s.get("/api/v1/events")
	var answer struct{ Events []item }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		s.t.Fatal(err)
	}
	return answer.Events
}

// recorded are the events of a recorder that nobody serves.
func recorded(t *testing.T, r *recorder) (items []item) {
	t.Helper()
	for shown := range r.events.Newest(10).All() {
		var i item
		if err := json.Unmarshal(shown.JSON, &i); err != nil {
			t.Fatal(err)
		}
		items = append(items, i)
	}
	return items
}

func kinds(items []item) []events.Kind {
	var list []events.Kind
	for _, item := range items {
		list = append(list, item.Kind)
	}
	return list
}

func TestEventsOfALife(t *testing.T) {
	s := launch(t, quick)
	s.write("server.listen = 1\n")
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	s.want("^READY=1$")
	// A temporary folder is no mount point.
	s.write(quick + "[storage]\ndata = \"" + t.TempDir() + "\"\n")
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	s.want("^READY=1$")
	code, body := s.get("/readyz")
	if code != 200 || body != `{"status":"degraded"}` {
		t.Errorf("readyz without the data partition: %d %s", code, body)
	}
	if _, body := s.get("/api/v1/system/status"); !strings.Contains(body, `{"name":"data","ok":false,"degraded":true,"detail":"`) || !strings.Contains(body, "missing: nothing is mounted there") || !strings.Contains(body, `"state":"missing"`) || !strings.Contains(body, `"last_reset":{"cause":"`) {
		t.Errorf("status: %s", body)
	}
	if code, body := s.get("/livez"); code != 200 || strings.Contains(body, "degraded") {
		t.Errorf("livez: %d %s", code, body)
	}
	want := []events.Kind{events.Boot, events.ServiceStart, events.ConfigReload, events.ConfigReload, events.DataPartition}
	var items []item
	for len(items) < len(want) { // the last one comes with a beat of the main loop
		items = s.events()
	}
	if !slices.Equal(kinds(items), want) {
		t.Fatalf("events %+v", items)
	}
	if items[0].BootID == "" || items[0].UptimeSeconds == 0 || items[1].Fields["version"] != "test" ||
		!strings.Contains(items[2].Message, "key server.listen") || items[2].Severity != events.Warning ||
		items[3].Severity != events.Info || items[4].Fields["state"] != "missing" {
		t.Errorf("events %+v", items)
	}
	s.write(quick)
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	s.want("^READY=1$")
	if _, body := s.get("/readyz"); !strings.Contains(body, `"status":"ok"`) {
		t.Errorf("readyz when none is expected: %s", body)
	}
}

// sharedMemory is a mount point on which a test may write.
func sharedMemory(t *testing.T) string {
	t.Helper()
	const mount = "/dev/shm"
	if err := os.Mkdir(filepath.Join(mount, "gin-edge"), 0o700); err != nil {
		t.Skipf("%s cannot stand for a data partition: %v", mount, err)
	}
	t.Cleanup(func() { os.RemoveAll(filepath.Join(mount, "gin-edge")) })
	return "[storage]\ndata = \"" + mount + "\"\n"
}

func TestEventsOutliveTheProcess(t *testing.T) {
	data := sharedMemory(t)
	first := launch(t, quick+data)
	if _, body := first.get("/api/v1/system/status"); !strings.Contains(body, `"state":"ok"`) {
		t.Skipf("/dev/shm cannot stand for a data partition: %s", body)
	}
	first.stop()

	// A bad file above a good one: where to record comes from the good one.
	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("[log]\nlevle = \"info\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	logs := log.NewText(io.Discard)
	defer logs.Close(context.Background())
	err := Run(context.Background(), Options{Layers: []config.Layer{{Path: first.file}, {Path: bad}}, Log: logs, Root: os.DirFS("/")})
	if err == nil {
		t.Fatal("the bad file was accepted")
	}

	second := launch(t, quick+data)
	want := []events.Kind{events.Boot, events.ServiceStart, events.ServiceStop, events.StartRefused, events.ServiceStart}
	var items []item
	for len(items) < len(want) || !items[len(items)-1].Stored {
		items = second.events()
	}
	if !slices.Equal(kinds(items), want) || !strings.Contains(items[3].Message, "key log.levle") || items[4].Fields["run_before"] != "stopped" {
		t.Errorf("events %+v", items)
	}
}

func TestWatchdogEventsAreNotOnePerTick(t *testing.T) {
	reader, _ := device.NewReader(os.DirFS("/"))
	r := newRecorder(servicetest.TextLogger(io.Discard), reader, nil, config.Labels(nil))
	for _, text := range []string{
		"loop/main: no beat for 4.1 s, limit 4.0 s", "loop/main: no beat for 12.9 s, limit 4.0 s",
		"loop/accept-http: no beat for 4.1 s, limit 4.0 s", "loop/accept-http: no beat for 5.1 s, limit 4.0 s",
	} {
		r.watchdogFailed(errors.New(text))
	}
	r.watchdogPassed()
	r.watchdogFailed(errors.New("loop/accept-http: no beat for 5.1 s, limit 4.0 s"))
	got := []string{}
	for _, item := range recorded(t, r) {
		got = append(got, item.Fields["failures"]+" "+item.Message)
	}
	want := []string{
		"1 watchdog not fed: loop/main: no beat for 4.1 s, limit 4.0 s",
		"3 watchdog not fed: loop/accept-http: no beat for 4.1 s, limit 4.0 s",
		"4 watchdog fed again",
		"1 watchdog not fed: loop/accept-http: no beat for 5.1 s, limit 4.0 s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// fullFS can be of a process that has no file descriptor left.
type fullFS struct {
	fs.FS
	full atomic.Bool
}

func (f *fullFS) Open(name string) (fs.File, error) {
	if f.full.Load() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	return f.FS.Open(name)
}

func TestFirewallEvents(t *testing.T) {
	root := t.TempDir()
	files := &fullFS{FS: os.DirFS(root)}
	reader, _ := device.NewReader(files)
	r := newRecorder(servicetest.TextLogger(io.Discard), reader, nil, config.Labels(nil))
	for _, f := range []device.Firewall{
		{State: device.FirewallInForce},
		{State: device.FirewallClosed, Detail: "a.conf:1: no port"},
		{State: device.FirewallClosed, Detail: "a.conf:1: no port"},
		{State: device.FirewallInForce},
	} {
		if err := f.Write(filepath.Join(root, device.FirewallFile)); err != nil {
			t.Fatal(err)
		}
		r.watchFirewall()
		// In between the process is out of file descriptors.
		files.full.Store(true)
		r.watchFirewall()
		files.full.Store(false)
	}
	got := []string{}
	for _, item := range recorded(t, r) {
		got = append(got, string(item.Kind)+" "+string(item.Severity)+" "+item.Fields["state"]+": "+item.Message)
	}
	want := []string{
		"firewall critical closed: the packet filter is not in force: a.conf:1: no port",
		"firewall info in-force: the packet filter is in force again",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}
