// Package sd speaks to systemd: notifications, sockets passed by name, and the
// watchdog.
package sd

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// The functions below send one sd_notify(3) datagram each. Without
// NOTIFY_SOCKET in the environment they do nothing and return nil. The
// environment stays as it is: every later message needs it too.

// Ready says that the service answers, or that a reload has ended.
func Ready(status string) error {
	return notify(daemon.SdNotifyReady, statusLine(status))
}

// Reloading says that a reload has begun. The monotonic time in the same
// datagram lets systemd tell it from an earlier reload; without it a unit of
// Type=notify-reload waits until its time is up.
func Reloading(status string) error {
	return notify(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()), statusLine(status))
}

// Stopping says that the shutdown has begun and asks for the time it needs,
// which may be longer than TimeoutStopSec= of the unit.
func Stopping(status string, needs time.Duration) error {
	return notify(daemon.SdNotifyStopping, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", needs.Microseconds()), statusLine(status))
}

// Status sets the line that systemctl status shows.
func Status(status string) error { return notify(statusLine(status)) }

func statusLine(status string) string {
	return "STATUS=" + strings.Join(strings.FieldsFunc(status, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}

func notify(lines ...string) error {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
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
