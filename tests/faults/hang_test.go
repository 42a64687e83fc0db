package faults

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/guest"
)

// hangLimit is the most that a hang of the daemon may take to the next 200, in
// seconds of the guest's clock: WatchdogSec=7s, TimeoutAbortSec=2s and a start.
const hangLimit = 12

// mainLimit is how long the daemon itself bears with its main loop before it
// stops feeding the watchdog: internal/app, mainLimit.
const mainLimit = 2

// A daemon that hangs is found by systemd's watchdog and replaced.
func TestDaemonStopped(t *testing.T) {
	r := begin(t, "daemon hangs", "SIGSTOP")
	m := running(t)
	pid := m.Status(t).Service.PID
	begin := m.Number(t, "kill -STOP "+strconv.Itoa(pid)+"; cut -d' ' -f1 /proc/uptime")
	// The signal that ends the hung process wakes it first: it may take a request,
	// and die with it or just answer.
	r.wantReplaced(t, m, pid, begin, hangLimit)
	if result, _ := m.Try(t, "journalctl -b -q --no-pager -o cat -u "+daemon+" | grep -m1 -o \"result 'watchdog'\""); result == "" {
		t.Error("the journal does not hold the result watchdog")
	} else {
		r.cause = "watchdog (systemd)"
	}
	m.WantHealthy(t)
}

func TestDaemonKilled(t *testing.T) {
	r := begin(t, "daemon dies", "SIGKILL")
	m := running(t)
	pid := m.Status(t).Service.PID
	r.wantReplaced(t, m, pid, m.Number(t, "kill -KILL "+strconv.Itoa(pid)+"; cut -d' ' -f1 /proc/uptime"), hangLimit)
	r.cause = "signal"
	m.WantHealthy(t)
}

// wantReplaced waits until another process than pid answers /livez, and puts the
// time since begin, of the guest's clock, into the table. The limit is in seconds.
func (r *result) wantReplaced(t *testing.T, m *machine, pid int, begin, limit float64) {
	t.Helper()
	var now guest.Status
	guest.Eventually(t, 2*time.Minute, "another process of the daemon", func() bool {
		code, err := m.Get("/api/v1/system/status", 2*time.Second, &now)
		return err == nil && code == http.StatusOK && now.Service.PID != pid
	})
	if code, err := m.Get("/livez", time.Minute, nil); err != nil || code != http.StatusOK {
		t.Errorf("/livez of the new process: %d, %v", code, err)
	}
	took := now.UptimeSeconds - begin
	r.took = fmt.Sprintf("%.1f s of the guest", took)
	if took > limit {
		t.Errorf("fault to 200: %.1f s, want at most %.0f s", took, limit)
	}
}

// A part of the daemon waits for ever while the rest works: the handler of the
// status and the main loop read a file that nobody writes. Everything else is
// answered, and the watchdog is not fed.
func TestDaemonDeadlock(t *testing.T) {
	r := begin(t, "daemon deadlocks", "main loop and a handler wait for ever")
	m := running(t)
	pid := m.Status(t).Service.PID
	const file = "/run/gin-edge-firewall/state.json"
	// Soon the file is as it was; who waits for the old one waits for ever.
	start := m.Number(t, fmt.Sprintf("cp %s /run/state.json; rm %s; mkfifo %s; (sleep 5; mv /run/state.json %s) >/dev/null 2>&1 & cut -d' ' -f1 /proc/uptime", file, file, file, file))
	if code, err := m.Get("/api/v1/device", 2*time.Second, nil); err != nil || code != http.StatusOK {
		t.Errorf("a handler that does not wait answers %d, %v", code, err)
	}
	if code, err := m.Get("/api/v1/system/status", time.Second, nil); err == nil {
		t.Errorf("the handler of the status answers %d: the fault is none", code)
	}
	r.wantReplaced(t, m, pid, start, hangLimit+mainLimit)
	for _, text := range []string{"result 'watchdog'", "watchFirewall"} { // the latter in the stack of the main loop
		if _, status := m.Try(t, "journalctl -b -q --no-pager -o cat -u "+daemon+` | grep -q "`+text+`"`); status != 0 {
			t.Errorf("the journal does not hold %s", text)
		}
	}
	r.cause = "watchdog (systemd), with the stacks"
	m.WantHealthy(t)
}

// What ends the process as a panic does that nobody recovers from.
func TestDaemonCrash(t *testing.T) {
	r := begin(t, "daemon panics", "SIGSEGV")
	m := running(t)
	pid := m.Status(t).Service.PID
	r.wantReplaced(t, m, pid, m.Number(t, "kill -SEGV "+strconv.Itoa(pid)+"; cut -d' ' -f1 /proc/uptime"), hangLimit)
	if _, status := m.Try(t, "journalctl -b -q --no-pager -o cat -u "+daemon+" | grep -q 'SIGSEGV: segmentation violation'"); status != 0 {
		t.Error("the journal does not hold what the runtime says of the crash")
	}
	r.cause = "crash, with the stacks"
	m.WantHealthy(t)
}

// An orderly reboot is told apart from the faults, and is the measure of theirs.
func TestReboot(t *testing.T) {
	r := begin(t, "none", "systemctl reboot")
	m := running(t)
	id := m.Run(t, "cat /etc/machine-id")
	back := m.Reset(t, 5*time.Minute, func() { m.Later(t, "systemctl reboot") })
	warm = back.ToAnswer
	r.note(t, m, back, "reboot")
	if now := m.Run(t, "cat /etc/machine-id"); now != id {
		t.Errorf("the machine id was %s, is %s", id, now)
	}
	m.WantHealthy(t)
}

// The hardware watchdog resets a machine whose first process is frozen.
func TestFrozenInit(t *testing.T) {
	r := begin(t, "PID 1 hangs", "cgroup freezer on init.scope")
	m := running(t)
	r.recovers(t, m, func() {
		m.Later(t, "echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze")
	}, func(back guest.Recovery) {
		back.WantWatchdog(t)
		r.note(t, m, back, "watchdog")
	})
	m.WantHealthy(t)
}

// A unit that never stops holds a reboot for as long as the drop-in of
// gin-edge-watchdog allows.
func TestUnitNeverStops(t *testing.T) {
	inFull(t)
	const allowed = 3 * time.Minute
	r := begin(t, "shutdown hangs", "a unit that does not stop")
	m := running(t)
	m.Run(t, `printf '[Service]\nExecStart=sleep infinity\nExecStop=sleep infinity\nTimeoutStopSec=infinity\n' >/run/systemd/system/stuck.service; systemctl daemon-reload; systemctl start stuck`)
	back := m.Reset(t, 2*allowed, func() { m.Later(t, "systemctl reboot") })
	detail := r.note(t, m, back, "reboot")
	if back.ToReset < allowed {
		t.Errorf("reset after %.0f s: the fault is none", back.ToReset.Seconds())
	}
	if !strings.Contains(detail, "did not go down in order") {
		t.Errorf("the detail of the cause is %q, nothing of the force", detail)
	}
	m.WantHealthy(t)
}

// What hangs after the last unit is the hardware watchdog's, with
// RebootWatchdogSec=. systemd hands over to /run/initramfs/shutdown there.
func TestShutdownNeverEnds(t *testing.T) {
	inFull(t)
	r := begin(t, "shutdown hangs", "after the last unit")
	m := running(t)
	// A shell with its libraries, where the loader looks for them without its cache.
	m.Run(t, "cd /run; mkdir -p initramfs/bin initramfs/usr/lib; ln -s usr/lib initramfs/lib; cp -L /bin/sh initramfs/bin; mkfifo initramfs/never")
	m.Run(t, `for f in $(LD_TRACE_LOADED_OBJECTS=1 /bin/sh | grep -o '/[^ ]*'); do mkdir -p "/run/initramfs${f%/*}"; cp -L $f /run/initramfs$f; done`)
	m.Run(t, `printf '#!/bin/sh\necho stuck >/dev/console\nread x </never\n' >/run/initramfs/shutdown; chmod +x /run/initramfs/shutdown`)
	back := m.Reset(t, 5*time.Minute, func() { m.Later(t, "systemctl reboot") })
	back.WantWatchdog(t)
	r.note(t, m, back, "watchdog")
	m.WantHealthy(t)
}

func TestKernelPanic(t *testing.T) {
	r := begin(t, "kernel panics", "sysrq c")
	m := running(t)
	r.recovers(t, m, func() {
		m.Later(t, "echo c >/proc/sysrq-trigger")
	}, func(back guest.Recovery) {
		if slices.Contains(back.Events, "WATCHDOG") {
			t.Errorf("the watchdog had to reset a kernel that panicked: panic= has no effect")
		}
		r.note(t, m, back, "kernel-panic")
		if words, status := m.Try(t, "grep -c 'Kernel panic - not syncing' /data/gin-edge-boot/last-panic"); status != 0 {
			t.Errorf("the last words of the kernel are not kept: %s", words)
		}
	})
	m.WantHealthy(t)
}

// A daemon that dies again and again is restarted ever more slowly, then the
// device reboots, three times at most.
func TestKillLoop(t *testing.T) {
	inFull(t)
	const most = 3
	r := begin(t, "daemon dies for ever", "SIGKILL loop over the reboots")
	m := running(t)
	loop := "while :; do systemctl kill -s KILL " + daemon + "; sleep 0.3; done >/dev/null 2>&1 & echo $! >/run/kill-loop"
	var took []string
	for range most {
		back := m.Reset(t, 10*time.Minute, func() { m.Run(t, loop) })
		took = append(took, fmt.Sprintf("%.0f s", back.ToReset.Seconds()))
		r.note(t, m, back, "service-failure")
	}
	serial := m.SerialLength(t)
	m.QMP.Forget()
	m.Run(t, loop)
	guest.Eventually(t, 10*time.Minute, "the escalation to give up", func() bool {
		// Its message is on the serial line, or, where that is full of kernel
		// messages, in the journal.
		if strings.Contains(m.SerialSince(t, serial), "neither restarts nor reboots help") {
			return true
		}
		_, status := m.Try(t, "journalctl -b -q -o cat -u gin-edge-escalate.service | grep -q 'neither restarts nor reboots help'")
		return status == 0
	})
	if e, err := m.QMP.Wait(time.Second, "RESET"); err == nil {
		t.Errorf("a fourth reboot: %s", e.Data)
	}
	r.took = "reboots after " + strings.Join(took, ", ")
	m.Run(t, "kill $(cat /run/kill-loop)")
	m.Run(t, "systemctl stop gin-edge-escalate.service; systemctl reset-failed "+daemon+"; systemctl start "+daemon)
	if code, err := m.Get("/livez", time.Minute, nil); err != nil || code != http.StatusOK {
		t.Errorf("after the loop: %d, %v", code, err)
	}
	m.WantHealthy(t)
}
