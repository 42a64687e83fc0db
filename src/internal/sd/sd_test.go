package sd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"
)

// manager is systemd's end of the notification socket.
type manager struct{ *net.UnixConn }

func newManager(t *testing.T) manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return manager{conn}
}

// next returns the next datagram, or "" when none came in time.
func (m manager) next(wait time.Duration) string {
	_ = m.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 4096)
	n, _ := m.Read(buf)
	return string(buf[:n])
}

func TestDatagrams(t *testing.T) {
	m := newManager(t)
	long := strings.Repeat("ü", 5000)
	for _, tc := range []struct {
		send func() error
		want []string
	}{
		{func() error { return Ready("a\nb\x1b") }, []string{`^READY=1$`, `^STATUS=a b$`}},
		{func() error { return Reloading("r") }, []string{`^RELOADING=1\nMONOTONIC_USEC=[0-9]+$`, `^STATUS=r$`}},
		{func() error { return Stopping("s", 2*time.Second) }, []string{`^STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000$`, `^STATUS=s$`}},
		{func() error { return Status("x") }, []string{`^STATUS=x$`}},
		{func() error { return Ready(long) }, []string{`^READY=1$`, `^STATUS=ü{500,510}…$`}},
		{func() error { return Ready("x" + long) }, []string{`^READY=1$`, `^STATUS=xü{500,510}…$`}},
	} {
		if err := tc.send(); err != nil {
			t.Fatal(err)
		}
		for _, want := range tc.want {
			got := m.next(time.Second)
			if !regexp.MustCompile(want).MatchString(got) || len(got) > maxStatus || !utf8.ValidString(got) {
				t.Errorf("datagram %q, want %s", got, want)
			}
		}
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Ready("x"); err != nil {
		t.Errorf("without systemd: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "missing"))
	if err := Ready("x"); err == nil {
		t.Error("a missing socket is no error")
	}
}

// The socket that was opened first serves until the end: also when the process
// cannot open another one, and when there is a new one behind the path.
func TestSocketStaysOpen(t *testing.T) {
	m := newManager(t)
	if err := Status("one"); err != nil {
		t.Fatal(err)
	}
	m.next(time.Second)
	path := os.Getenv("NOTIFY_SOCKET")
	if err := os.Remove(path); err != nil { // whoever opens a socket each time fails now
		t.Fatal(err)
	}
	if err := Status("two"); err != nil {
		t.Fatal(err)
	}
	if got := m.next(time.Second); got != "STATUS=two" {
		t.Errorf("datagram %q", got)
	}
	m.Close()
	if err := Status("nobody"); err == nil {
		t.Error("nobody listens, and that is no error")
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := Ready("three"); err != nil {
		t.Fatal(err)
	}
	if got := (manager{conn}).next(time.Second); got != "READY=1" {
		t.Errorf("datagram %q", got)
	}
}

func TestManagerThatTakesNothing(t *testing.T) {
	newManager(t)
	begin := time.Now()
	var err error
	for range 2000 { // more than its queue
		if err = Status("x"); err != nil {
			break
		}
	}
	if took := time.Since(begin); err == nil || took < sendTimeout || took > sendTimeout+30*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

func TestWatchdogPingsOnlyWhileTheCheckPasses(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "1500000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var hang, bad atomic.Bool
	failed := make(chan error, 100)
	passed := make(chan struct{}, 100)
	w, err := NewWatchdog(func(ctx context.Context) error {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 250*time.Millisecond {
			t.Errorf("deadline %v, want half a tick", time.Until(deadline))
		}
		if hang.Load() {
			<-ctx.Done()
			return nil // a check that does not notice
		}
		if bad.Load() {
			return errors.New("loop/x: no beat")
		}
		return nil
	}, func(err error) { failed <- err }, func() { passed <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()

	for range 3 {
		if got := m.next(5 * time.Second); got != "WATCHDOG=1" {
			t.Fatalf("datagram %q", got)
		}
	}
	for _, fault := range []*atomic.Bool{&bad, &hang} {
		fault.Store(true)
		<-failed
		for m.next(time.Millisecond) != "" { // sent before the fault
		}
		if got := m.next(1200 * time.Millisecond); got != "" {
			t.Fatalf("fed in spite of a failed check: %q", got)
		}
		fault.Store(false)
		if got := m.next(5 * time.Second); got != "WATCHDOG=1" {
			t.Fatalf("not fed again: %q", got)
		}
		<-passed
	}
	if s := w.Stats(); s.Interval != 1500*time.Millisecond || s.Failures < 2 || s.LastOK.IsZero() || s.LastError == "" {
		t.Errorf("stats = %+v", s)
	}
	cancel()
	<-done
	for m.next(time.Millisecond) != "" { // sent before the end
	}
	if got := m.next(700 * time.Millisecond); got != "" {
		t.Errorf("fed after its end: %q", got)
	}
}

func TestWatchdogOff(t *testing.T) {
	for _, env := range [][2]string{{"", ""}, {"1000000", "1"}} {
		t.Setenv("WATCHDOG_USEC", env[0])
		t.Setenv("WATCHDOG_PID", env[1])
		w, err := NewWatchdog(func(context.Context) error { t.Error("checked"); return nil }, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.Run(context.Background())
		if w.Stats().Interval != 0 {
			t.Errorf("%v: on", env)
		}
	}
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	for value, want := range map[string]string{
		"soon": `WATCHDOG_USEC="soon"`, "0": `WATCHDOG_USEC="0"`, "-1": `WATCHDOG_USEC="-1"`,
		"1": "of 1µs (WATCHDOG_USEC) is below 1s", "999999": "raise WatchdogSec= of the unit",
	} {
		t.Setenv("WATCHDOG_USEC", value)
		if _, err := NewWatchdog(nil, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("WATCHDOG_USEC=%s: %v, want %s", value, err, want)
		}
	}
}

// Sockets takes file descriptors from 3 on, so it runs in a process of its own.
func TestSockets(t *testing.T) {
	if os.Getenv("GIN_EDGE_TEST_CHILD") == "sockets" {
		_ = os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		listeners, others, err := Sockets("http")
		for _, ln := range listeners {
			fmt.Println("listener", ln.Addr())
		}
		fmt.Println("others", strings.Join(others, ","))
		fmt.Println("error", err)
		fmt.Println("left", os.Getenv("LISTEN_FDS")+os.Getenv("LISTEN_FDNAMES")+os.Getenv("LISTEN_PID"))
		return
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	tcpFile, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcpFile.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, tc := range []struct {
		names string
		files []*os.File
		want  []string
	}{
		{"http:metrics", []*os.File{tcpFile, null}, []string{"listener " + tcp.Addr().String(), "others metrics", "error <nil>", "left \n"}},
		{"metrics:http", []*os.File{tcpFile, null}, []string{"others metrics", `error socket "http" from systemd is not a listening stream socket`}},
		{"", nil, []string{"others \n", "error <nil>"}},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSockets$")
		cmd.Env = append(os.Environ(), "GIN_EDGE_TEST_CHILD=sockets", "LISTEN_FDS="+strconv.Itoa(len(tc.files)), "LISTEN_FDNAMES="+tc.names)
		cmd.ExtraFiles = tc.files
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range tc.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("names %q: %q is not in\n%s", tc.names, want, out)
			}
		}
	}
}
