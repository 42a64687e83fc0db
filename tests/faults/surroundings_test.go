package faults

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A boot without network: it is the cable that is missing, and no unit fails.
func TestOffline(t *testing.T) {
	inFull(t)
	r := begin(t, "no network", "link down over a reboot")
	m := running(t)
	link := func(up bool) {
		t.Helper()
		if err := m.QMP.Execute("set_link", map[string]any{"name": "net", "up": up}, nil); err != nil {
			t.Fatal(err)
		}
	}
	link(false)
	defer link(true)
	m.QMP.Forget()
	m.Later(t, "systemctl reboot")
	if _, err := m.QMP.Wait(3*time.Minute, "RESET"); err != nil {
		t.Fatal(err)
	}
	m.Login(t)
	m.WantHealthy(t)
	// Nobody reaches it from outside, so it is asked on the loopback.
	if m.Loopback(t, "/livez", `"status":"ok"`) == "" {
		t.Error("/livez does not answer ok on the loopback, without network")
	}
	if code, err := m.Get("/livez", 2*time.Second, nil); err == nil {
		t.Errorf("the guest answers %d from outside: the fault is none", code)
	}
	link(true)
	begin := time.Now()
	r.took = fmt.Sprintf("%.1f s from the cable", m.Wait200(t, 2*time.Minute).Sub(begin).Seconds())
	r.cause = "served on the loopback meanwhile"
}

// A device whose clock has no battery boots in the past.
func TestNoClock(t *testing.T) {
	inFull(t)
	r := begin(t, "no clock", "hardware clock set to 2000 over a reset")
	m := running(t)
	hwclock := "hwclock"
	if _, status := m.Try(t, "command -v hwclock"); status != 0 {
		hwclock = "busybox hwclock"
	}
	if output, status := m.Try(t, "test -e /dev/rtc0 && "+hwclock+" -r -u"); status != 0 {
		t.Skipf("the guest has no hardware clock that can be set: %s", output)
	}
	defer func() {
		if !t.Failed() {
			m.Try(t, fmt.Sprintf("date -u -s @%d && %s -w -u", time.Now().Unix(), hwclock))
		}
	}()
	m.Run(t, "date -u -s '2000-01-02 03:04:05' && "+hwclock+" -w -u")
	back := m.Reset(t, 2*time.Minute, func() {
		// Not in order: a shutdown would write the time.
		if err := m.QMP.Execute("system_reset", nil, nil); err != nil {
			t.Fatal(err)
		}
	})
	r.note(t, m, back, "power-loss")
	now := m.Run(t, "date -u +%Y-%m-%d; mountpoint -q /data")
	if strings.HasPrefix(now, time.Now().UTC().Format("2006-01-02")) {
		t.Errorf("the guest knows the date, %s: the fault is none", now)
	}
	r.cause += ", the date is " + now
	m.WantHealthy(t)
}

// A flood of messages costs bounded memory, and the service answers meanwhile.
func TestFlood(t *testing.T) {
	inFull(t)
	r := begin(t, "log flood", "10 x 5000 messages")
	m := running(t)
	// The largest file that a journal may leave over its 8 MiB.
	const maxVolatile = 12 << 10 // KiB
	used := func() (ram, disk, run, volatile float64) {
		t.Helper()
		ram, disk = m.Number(t, sizeOf("/run/log/journal")), m.Number(t, sizeOf("/data/log/journal"))
		run = m.Number(t, "df -k /run | awk 'END { print $3 }'")
		volatile = m.Number(t, "df -k /var | awk 'END { print $3 }'")
		return
	}
	_, _, runBefore, varBefore := used()
	for unit := range 10 {
		m.Run(t, floodUnit(unit, 5000))
	}
	for range 10 {
		if code, err := m.Get("/livez", 10*time.Second, nil); err != nil || code != http.StatusOK {
			t.Errorf("/livez during the flood: %d, %v", code, err)
		}
	}
	m.Run(t, floodEnds)
	ram, disk, runAfter, varAfter := used()
	r.cause = fmt.Sprintf("journal %.0f KiB in RAM, %.0f on the data partition, /run +%.0f KiB, /var +%.0f KiB", ram, disk, runAfter-runBefore, varAfter-varBefore)
	if ram > maxVolatile {
		t.Errorf("the journal in RAM takes %.0f KiB", ram)
	}
	if disk > maxJournal>>10 {
		t.Errorf("the journal on the data partition takes %.0f KiB", disk)
	}
	if ram+disk < 256 {
		t.Errorf("the journal takes %.0f KiB in all: the fault is none", ram+disk)
	}
	if runAfter-runBefore > maxVolatile || varAfter-varBefore > maxVolatile {
		t.Errorf("growth is not bounded: %s", r.cause)
	}
	if lost, _ := m.Try(t, "journalctl -b -q --no-pager -o cat -u systemd-journald | grep -m1 -i suppressed"); lost == "" {
		t.Error("journald does not say that it suppressed messages")
	}
	m.WantHealthy(t)
}
