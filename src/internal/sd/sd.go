// Package sd speaks to systemd: notifications, sockets passed by name, and the
// watchdog.
package sd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// The functions below send sd_notify(3) datagrams, STATUS in one of its own: it
// is for people, and what is wrong with it must not cost the state that systemd
// waits for. Without NOTIFY_SOCKET in the environment they do nothing and return
// nil. The environment stays as it is.

// Ready says that the service answers, or that a reload has ended.
func Ready(status string) error { return notifyWith(status, daemon.SdNotifyReady) }

// Reloading says that a reload has begun. The monotonic time in the same
// datagram lets systemd tell it from an earlier reload; without it a unit of
// Type=notify-reload waits until its time is up.
func Reloading(status string) error {
	return notifyWith(status, daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
}

// Stopping says that the shutdown has begun and asks for the time it needs,
// which may be longer than TimeoutStopSec= of the unit.
func Stopping(status string, needs time.Duration) error {
	return notifyWith(status, daemon.SdNotifyStopping, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", needs.Microseconds()))
}

// Status sets the line that systemctl status shows, at most 1 KiB of it.
func Status(status string) error { return systemd.send(statusLine(status)) }

func notifyWith(status string, lines ...string) error {
	return errors.Join(systemd.send(strings.Join(lines, "\n")), Status(status))
}

// maxStatus bounds STATUS. systemd takes no datagram above 4096 bytes
// (NOTIFY_BUFFER_MAX): it drops a longer one with all that is in it.
const maxStatus = 1 << 10

func statusLine(status string) string {
	line := "STATUS=" + strings.Join(strings.FieldsFunc(status, unicode.IsControl), " ")
	const cut = "…"
	if len(line) > maxStatus {
		line = line[:maxStatus-len(cut)] + cut
	}
	return strings.ToValidUTF8(line, "")
}

// systemd is the connection to the manager that started this process.
var systemd notifier

// notifier keeps its socket open: a process that is out of file descriptors is
// one whose watchdog and status matter.
type notifier struct {
	mu   sync.Mutex
	path string // NOTIFY_SOCKET that conn leads to
	conn *net.UnixConn
}

// sendTimeout is how long a manager that takes nothing may hold up the sender.
const sendTimeout = 2 * time.Second

func (n *notifier) send(datagram string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	err := errors.New("not connected")
	if n.conn != nil && n.path == path {
		err = n.write(datagram)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// The first time, or the socket is a new one.
		if err = n.dial(path); err == nil {
			err = n.write(datagram)
		}
	}
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

func (n *notifier) write(datagram string) error {
	if err := n.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err := n.conn.Write([]byte(datagram))
	return err
}

// dial keeps the old socket when there is no new one: it may work again.
func (n *notifier) dial(path string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	if n.conn != nil {
		_ = n.conn.Close()
	}
	n.conn, n.path = conn, path
	return nil
}

// Sockets takes the listening sockets that systemd passed under the name
// (FileDescriptorName= of the socket unit). Sockets with another name are
// closed and their names returned: nothing would ever accept on them. It reads
// LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES and removes them.
func Sockets(name string) (listeners []net.Listener, others []string, err error) {
	for _, f := range activation.Files(true) {
		if f.Name() != name {
			others = append(others, f.Name())
			_ = f.Close()
			continue
		}
		ln, lnErr := net.FileListener(f)
		_ = f.Close()
		if lnErr != nil {
			err = fmt.Errorf("socket %q from systemd is not a listening stream socket: %w", name, lnErr)
			continue
		}
		listeners = append(listeners, ln)
	}
	if err != nil {
		for _, ln := range listeners {
			_ = ln.Close()
		}
		return nil, others, err
	}
	return listeners, others, nil
}
