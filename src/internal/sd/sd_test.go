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
	for _, tc := range []struct {
		send func() error
		want string
	}{
		{func() error { return Ready("a\nb") }, `^READY=1\nSTATUS=a b$`},
		{func() error { return Reloading("r") }, `^RELOADING=1\nMONOTONIC_USEC=[0-9]+\nSTATUS=r$`},
		{func() error { return Stopping("s", 2*time.Second) }, `^STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\nSTATUS=s$`},
		{func() error { return Status("x") }, `^STATUS=x$`},
	} {
		if err := tc.send(); err != nil {
			t.Fatal(err)
		}
		if got := m.next(time.Second); !regexp.MustCompile(tc.want).MatchString(got) {
			t.Errorf("datagram %q, want %s", got, tc.want)
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
	t.Setenv("WATCHDOG_USEC", "soon")
	if _, err := NewWatchdog(nil, nil, nil); err == nil {
		t.Error("a WATCHDOG_USEC that is no number was accepted")
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
