package blackbox

import (
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/service"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestUnit(t *testing.T) {
	g := needGuest(t)
	pid := itoa(g.PID(t))
	uid := g.Run(t, "id -u gin-edge")
	fields := strings.Fields(g.Run(t, "grep ^Uid: /proc/"+pid+"/status"))
	if uid == "0" || len(fields) != 5 || fields[1] != uid || fields[2] != uid {
		t.Errorf("gin-edged runs as %v, user gin-edge is %s", fields, uid)
	}
	if capabilities := g.Run(t, "grep ^CapPrm: /proc/"+pid+"/status"); !strings.HasSuffix(capabilities, "0000000000000000") {
		t.Errorf("gin-edged has capabilities: %s", capabilities)
	}
	for property, want := range map[string]string{"Type": "notify-reload", "ActiveState": "active", "SubState": "running"} {
		if got := g.Show(t, property); got != want {
			t.Errorf("%s=%s, want %s", property, got, want)
		}
	}
	if text := g.Show(t, "StatusText"); !strings.HasPrefix(text, "serving on ") {
		t.Errorf("StatusText=%s", text)
	}
	if !status(t).Watchdog.Enabled {
		t.Error("the service does not feed systemd's watchdog")
	}
}

// The service writes its state, and cannot change its own configuration.
func TestConfigurationIsNotTheServices(t *testing.T) {
	g := needGuest(t)
	folder := filepath.Dir(service.LastLayer(*dataFlag))
	if _, code := g.Try(t, "test -d "+folder+"/state"); code != 0 {
		t.Skip("this guest has no data partition")
	}
	if got := g.Run(t, "cd "+folder+" && stat -c '%U %G %a' . state state/config state/events"); strings.Join(strings.Fields(got), " ") !=
		"root gin-edge 750 root gin-edge 750 root gin-edge 770 root gin-edge 770" {
		t.Errorf("%s, its state and what is in it are %s", folder, got)
	}
	// Of the service's own mounts: neither folder above is writable for it.
	mounts := g.Run(t, "cat /proc/"+itoa(g.PID(t))+"/mountinfo")
	if !strings.Contains(mounts, " "+folder+"/state rw") || strings.Contains(mounts, " "+folder+" rw") {
		t.Errorf("mounts of the service:\n%s", mounts)
	}
}

func TestSecurityLevel(t *testing.T) {
	g := needGuest(t)
	if _, status := g.Try(t, "command -v systemd-analyze"); status != 0 {
		t.Skip("this guest has no systemd-analyze")
	}
	output, status := g.Try(t, "systemd-analyze security --no-pager --threshold=13 "+*unitFlag)
	if status != 0 {
		t.Errorf("more exposed than 1.3:\n%s", output)
	}
	lines := strings.Split(output, "\n")
	t.Log(lines[len(lines)-1])
}

// systemctl reload reports a bad file; the service goes on.
func TestSystemctlReload(t *testing.T) {
	g := needGuest(t)
	configure(t, limitConfig(121))
	pid := g.PID(t)
	g.writeConfig(t, limitConfig(122))
	g.Run(t, "systemctl reload "+*unitFlag)
	if limit := status(t).Connections.Limit; limit != 122 {
		t.Errorf("systemctl reload has returned, max_connections is %d", limit)
	}
	path := g.writeConfig(t, "[server]\nmax_bdoy_bytes = 1\n")
	if output, status := g.Try(t, "systemctl reload "+*unitFlag); status == 0 {
		t.Errorf("systemctl reload takes a bad file for a success: %s", output)
	}
	if !g.logged(t, path+":2: key server.max_bdoy_bytes: unknown key") {
		t.Error("file, line and key are not in the journal")
	}
	if now := status(t); now.Connections.Limit != 122 || now.Service.PID != pid {
		t.Errorf("the old configuration is not in force any more: %+v", now)
	}
}

// systemd keeps the socket open: no connection is refused while the service
// restarts.
func TestRestartRefusesNothing(t *testing.T) {
	g := needGuest(t)
	before := status(t).Service.PID
	p := startProber(t)
	for range 2 {
		g.Run(t, "systemctl restart "+*unitFlag)
	}
	p.wantNoError(t, "the service restarted")
	if after := status(t).Service.PID; after == before {
		t.Errorf("process %d is still the same", after)
	}
}

// systemd feeds the hardware's watchdog at half its time, and not while it reads
// its units again: a reload that takes longer is one that resets the device.
func TestDaemonReloadLeavesTheWatchdogItsTime(t *testing.T) {
	g := needGuest(t)
	const manager = "busctl get-property org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager "
	allowed := service.Number(t, strings.TrimPrefix(g.Run(t, manager+"RuntimeWatchdogUSec"), "t ")) / 1e6
	if allowed < 1 || allowed > 3600 {
		t.Fatalf("RuntimeWatchdogUSec= is %.0f s", allowed)
	}
	clock := "cut -d' ' -f1 /proc/uptime"
	begin, end, _ := strings.Cut(g.Run(t, clock+"; systemctl daemon-reload; "+clock), "\n")
	took := service.Number(t, end) - service.Number(t, begin)
	t.Logf("systemctl daemon-reload took %.1f s of %.0f s", took, allowed)
	if took > allowed/2 {
		t.Errorf("systemctl daemon-reload took %.1f s, the watchdog resets after %.0f s", took, allowed)
	}
}

// The packet filter forgets connections that have ended before new ones could fill
// its table, which is everybody's.
func TestEndedConnectionsLeaveTheTable(t *testing.T) {
	g := needGuest(t)
	const connections, others = 150, 30 // below the rate that the filter lets one source have
	count := func() float64 {
		return service.Number(t, g.Run(t, "cat /proc/sys/net/netfilter/nf_conntrack_count"))
	}
	for range connections {
		get(t, "/livez")
	}
	if full := count(); full < 2*others {
		t.Fatalf("%d connections left %.0f entries", connections, full)
	}
	// The kernel looks for expired entries once a minute at the least; by its own
	// times none of these would have expired by then.
	eventually(t, 80*time.Second, "ended connections to leave the table", func() bool { return count() < others })
}

// A daemon that hangs is found by the watchdog and replaced.
func TestHang(t *testing.T) {
	const limit = 12 // seconds of the guest's clock
	g := needGuest(t)
	pid := g.PID(t)
	restarts := service.Number(t, g.Show(t, "NRestarts"))
	begin := service.Number(t, g.Run(t, "kill -STOP "+itoa(pid)+"; cut -d' ' -f1 /proc/uptime"))
	// The request waits in the socket until the next process takes it, and is
	// answered with the guest's clock. The signal that ends the hung process wakes
	// it first: it may take the request, and die with it or just answer.
	var now Status
	eventually(t, time.Minute, "the next process to answer", func() bool {
		answer, err := client.Get(target.url + "/api/v1/system/status")
		if err != nil {
			t.Logf("a request was lost: %v", err)
			return false
		}
		response := receive(t, http.MethodGet, "/api/v1/system/status", answer)
		now = decode[Status](t, response.Body)
		return response.Status == http.StatusOK && now.Service.PID != pid
	})
	took := now.UptimeSeconds - begin
	if count := service.Number(t, g.Show(t, "NRestarts")); count != restarts+1 {
		t.Errorf("%v restarts, want one more than %v", count, restarts)
	}
	eventually(t, 30*time.Second, "the reason in the journal", func() bool {
		return g.logged(t, "Watchdog timeout")
	})
	if !g.logged(t, "Failed with result 'watchdog'") {
		t.Error("the journal does not hold the result watchdog")
	}
	// Where the time went, by the guest's clock.
	record, _ := g.Try(t, "journalctl -b -q --no-pager -o short-monotonic -t systemd -u "+*unitFlag+" | tail -n 8")
	t.Logf("SIGSTOP at %.1f, 200 at %.1f: %.1f s\n%s", begin, now.UptimeSeconds, took, record)
	switch {
	case took <= limit:
	case strings.Contains(*bootArgs, "raspberrypi"):
		// QEMU gives the board four cores, whatever the host has.
		t.Skipf("found and replaced, but not held to %d s on an emulated board: %.1f s", limit, took)
	default:
		t.Errorf("hang to 200: %.1f s, want at most %d s", took, limit)
	}
}

func TestNoFailedUnits(t *testing.T) {
	g := needGuest(t)
	// Waits until the boot is over.
	state, _ := g.Try(t, "systemctl is-system-running --wait")
	if state != "running" {
		t.Errorf("the system is %s; failed units:\n%s", state, g.Run(t, "systemctl --failed --no-legend --plain --no-pager"))
	}
	if cycles, _ := g.Try(t, "journalctl -b -q --no-pager -o cat | grep -ai 'ordering cycle'"); cycles != "" {
		t.Errorf("ordering cycles:\n%s", cycles)
	}
}

func TestReadOnlyRoot(t *testing.T) {
	g := needGuest(t)
	options := g.Run(t, `while read -r _ where _ options _; do [ "$where" != / ] || echo "$options"; done </proc/mounts`)
	if !strings.HasPrefix(options+",", "ro,") {
		t.Errorf("/ is mounted with %s", options)
	}
	if output, status := g.Try(t, "touch /usr/blackbox"); status == 0 {
		t.Errorf("a file could be made in /usr: %s", output)
	}
}
