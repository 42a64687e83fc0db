package faults

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hangLimit is the most that a hang of the daemon may take to the next 200, in
// seconds of the guest's clock.
const hangLimit = 12

// A daemon that hangs is found by systemd's watchdog and replaced.
func TestDaemonStopped(t *testing.T) {
	r := begin(t, "daemon hangs", "SIGSTOP")
	m := running(t)
	pid := m.status(t).Service.PID
	begin := m.number(t, "kill -STOP "+strconv.Itoa(pid)+"; cut -d' ' -f1 /proc/uptime")
	// The request waits in the socket until the next process takes it, and is
	// answered with the guest's clock. The signal that ends the hung process wakes
	// it first: it may take the request, and die with it or just answer.
	var now status
	for deadline := time.Now().Add(time.Minute); ; {
		code, err := m.get("/api/v1/system/status", time.Minute, &now)
		if err == nil && code == http.StatusOK && now.Service.PID != pid {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d goes on: it did not hang (%d, %v)", pid, code, err)
		}
	}
	took := now.UptimeSeconds - begin
	r.took = fmt.Sprintf("%.1f s of the guest", took)
	if took > hangLimit {
		t.Errorf("hang to 200: %.1f s, want at most %d s", took, hangLimit)
	}
	if result, _ := m.Try(t, "journalctl -b -q --no-pager -o cat -u "+daemon+" | grep -m1 -o \"result 'watchdog'\""); result == "" {
		t.Error("the journal does not hold the result watchdog")
	} else {
		r.cause = "watchdog (systemd)"
	}
	m.wantHealthy(t)
}

func TestDaemonKilled(t *testing.T) {
	r := begin(t, "daemon dies", "SIGKILL")
	m := running(t)
	pid := m.status(t).Service.PID
	begin := m.number(t, "kill -KILL "+strconv.Itoa(pid)+"; cut -d' ' -f1 /proc/uptime")
	now := m.status(t)
	r.took = fmt.Sprintf("%.1f s of the guest", now.UptimeSeconds-begin)
	r.cause = "signal"
	if now.Service.PID == pid {
		t.Errorf("process %d is still the same", pid)
	}
	if took := now.UptimeSeconds - begin; took > hangLimit {
		t.Errorf("death to 200: %.1f s, want at most %d s", took, hangLimit)
	}
	m.wantHealthy(t)
}

// What needs a fault inside the daemon is no affair of a guest: production code
// has no hook for it.
func TestHandlerFaults(t *testing.T) {
	begin(t, "handler deadlocks or panics", "nothing")
	t.Skip("the daemon has no hook for faults; the unit tests of the service cover both")
}

// An orderly reboot is told apart from the faults, and is the measure of theirs.
func TestReboot(t *testing.T) {
	r := begin(t, "none", "systemctl reboot")
	m := running(t)
	id := m.Run(t, "cat /etc/machine-id")
	back := m.reset(t, 5*time.Minute, func() { m.later(t, "systemctl reboot") })
	warm = back.toAnswer
	r.note(t, m, back, "reboot")
	if now := m.Run(t, "cat /etc/machine-id"); now != id {
		t.Errorf("the machine id was %s, is %s", id, now)
	}
	m.wantHealthy(t)
}

// The hardware watchdog resets a machine whose first process is frozen.
func TestFrozenInit(t *testing.T) {
	r := begin(t, "PID 1 hangs", "cgroup freezer on init.scope")
	m := running(t)
	r.recovers(t, m, func() {
		m.later(t, "echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze")
	}, func(back recovery) {
		if !slices.Contains(back.events, "WATCHDOG") {
			t.Errorf("QEMU told of %v %s: it was not the watchdog that bit", back.events, back.resetData)
		}
		r.note(t, m, back, "watchdog")
	})
	m.wantHealthy(t)
}

func TestKernelPanic(t *testing.T) {
	r := begin(t, "kernel panics", "sysrq c")
	m := running(t)
	r.recovers(t, m, func() {
		m.later(t, "echo c >/proc/sysrq-trigger")
	}, func(back recovery) {
		if slices.Contains(back.events, "WATCHDOG") {
			t.Errorf("the watchdog had to reset a kernel that panicked: panic= has no effect")
		}
		r.note(t, m, back, "kernel-panic")
		if words, status := m.Try(t, "grep -c 'Kernel panic - not syncing' /data/gin-edge-boot/last-panic"); status != 0 {
			t.Errorf("the last words of the kernel are not kept: %s", words)
		}
	})
	m.wantHealthy(t)
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
		back := m.reset(t, 10*time.Minute, func() { m.Run(t, loop) })
		took = append(took, fmt.Sprintf("%.0f s", back.toReset.Seconds()))
		r.note(t, m, back, "service-failure")
	}
	serial := m.serialLength(t)
	m.qmp.Forget()
	m.Run(t, loop)
	eventually(t, 10*time.Minute, "the escalation to give up", func() bool {
		// Its message is on the serial line, or, where that is full of kernel
		// messages, in the journal.
		if strings.Contains(m.serialSince(t, serial), "neither restarts nor reboots help") {
			return true
		}
		_, status := m.Try(t, "journalctl -b -q -o cat -u gin-edge-escalate.service | grep -q 'neither restarts nor reboots help'")
		return status == 0
	})
	if e, err := m.qmp.Wait(time.Second, "RESET"); err == nil {
		t.Errorf("a fourth reboot: %s", e.Data)
	}
	r.took = "reboots after " + strings.Join(took, ", ")
	m.Run(t, "kill $(cat /run/kill-loop)")
	m.Run(t, "systemctl stop gin-edge-escalate.service; systemctl reset-failed "+daemon+"; systemctl start "+daemon)
	if code, err := m.get("/livez", time.Minute, nil); err != nil || code != http.StatusOK {
		t.Errorf("after the loop: %d, %v", code, err)
	}
	m.wantHealthy(t)
}
