package hostile

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/service"
	"github.com/meta-gin-edge/meta-gin-edge/tests/vm"
)

// bySystemctl are the reloads that are made as an operator makes them.
const bySystemctl = 5

// keepingHosts and attackingHosts are on the guest's network, beside the honest
// one and the one that asks for figures.
const keepingHosts, attackingHosts = 4, 8

// guest is the service in a guest, under systemd and behind the packet filter.
// All of it is done by the goroutine of the test: there is one console.
type guest struct {
	t *testing.T // of the row
	*service.Guest
	hosts *vm.Hosts

	pid  int // of the daemon; 0: not known
	dead chan struct{}
	how  string
	last peak
}

// short tells what a push attacks a guest with: a row takes a minute there.
var shortForGuests = []string{
	"nothing", "slow header, one source", "tiny header lines, POST without its body", "events, never read", "reset flood",
}

func TestGuest(t *testing.T) {
	script, args := "scripts/boot", []string(nil)
	switch kind, arch, _ := strings.Cut(*targetFlag, ":"); {
	case kind == "", kind == "process":
		t.Skip("no -target that is a guest")
	case kind == "try":
		script = "scripts/try"
		if arch != "" {
			args = append(args, "--arch", arch)
		}
	}
	u, err := readUnit(filepath.Join(root, unitFile))
	if err != nil {
		t.Fatal(err)
	}
	started, err := service.StartGuest(filepath.Join(root, script), append(args, strings.Fields(*bootArgs)...)...)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, Guest: started}
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
	})
	var addresses []netip.Addr
	for n := range byte(2 + keepingHosts + attackingHosts) {
		addresses = append(addresses, netip.AddrFrom4([4]byte{10, 0, 2, 50 + n}))
	}
	if g.hosts, err = g.VM.Hosts(addresses...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.hosts.Close() })
	unchecked("a guest's addresses are %d hosts of IPv4: rows with more sources have fewer, and those of IPv6 and of vanishing peers are for a process", attackingHosts)
	unchecked("times of answers in an emulated guest are printed and not held to a limit")
	unchecked("a flood of an emulated guest is 160 connections a second: at 3000 it does nothing but take packets, and its console stands still")
	g.fillEvents(t)

	p := pace{calm: 5 * time.Second, hold: 20 * time.Second, back: time.Minute, reloads: 2, pause: againPause}
	if *setFlag == "full" {
		p.restarts = 1
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			switch {
			case a.v6 || a.vanish:
				t.Skip("only against a process")
			case *setFlag != "full" && !asked() && !slices.Contains(shortForGuests, a.name):
				t.Skip("only in -set=full")
			}
			needTool(t, a)
			g.begin(t)
			report(t, g, a, p, u)
		})
	}
}

// fillEvents gives the guest the log of an old device. It asks for it over the
// network: the serial line would take minutes.
func (g *guest) fillEvents(t *testing.T) {
	t.Helper()
	folder, err := g.asking().eventFolder()
	if err != nil {
		t.Fatal(err)
	}
	if folder == "" {
		unchecked("the guest has no data partition: its log of events is short")
		return
	}
	g.Run(t, "systemctl stop "+g.Unit)
	for name, content := range fullEventLog() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() {
			conn, err := ln.Accept()
			if err == nil {
				_, err = conn.Write(content)
				err = errors.Join(err, conn.Close())
			}
			sent <- errors.Join(err, ln.Close())
		}()
		// 10.0.2.2 is this machine, as the guest sees it. The image has busybox, the
		// quick VM has not.
		g.Run(t, fmt.Sprintf("file=%s/%s port=%d; if command -v nc >/dev/null; then nc 10.0.2.2 $port </dev/null >$file; else bash -c \"cat </dev/tcp/10.0.2.2/$port >$file\"; fi",
			folder, name, ln.Addr().(*net.TCPAddr).Port))
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	g.Run(t, "chown gin-edge: "+folder+"/events*; systemctl start "+g.Unit)
}

// begin gives the row a daemon of its own.
func (g *guest) begin(t *testing.T) {
	t.Helper()
	g.t, g.pid, g.dead, g.how, g.last = t, 0, make(chan struct{}), "", peak{}
	g.Run(t, "systemctl stop "+g.Unit+" && systemctl reset-failed "+g.Unit+"; systemctl start "+g.Unit)
	g.pid = g.PID(t)
	warm := func() error {
		var any any
		return g.asking().ask("/api/v1/events?limit=1000", &any)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		err := warm()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func (g *guest) honest() place { return place{service: g.hosts.Services[0]} }
func (g *guest) asking() place { return place{service: g.hosts.Services[1]} }

func (g *guest) keeping(number int) place {
	return place{service: g.hosts.Services[2+number%keepingHosts]}
}

func (g *guest) attacker(number int, _ attack) place {
	return place{service: g.hosts.Services[2+keepingHosts+number%attackingHosts]}
}

// group is the cgroup of the unit.
func (g *guest) group() string { return "/sys/fs/cgroup/system.slice/" + g.Unit }

// alone tells whether the daemon is still the same, and notes when it is not.
func (g *guest) alone() bool {
	if g.how != "" {
		return false
	}
	now := g.PID(g.t)
	if now == g.pid {
		return true
	}
	lines, _ := g.Try(g.t, "journalctl -b -q --no-pager -o short-monotonic _PID=1 -u "+g.Unit+" | grep -e 'Main process exited' -e 'Failed with result' -e 'oom' | tail -n 3")
	g.how = fmt.Sprintf("process %d became %d: %s", g.pid, now, strings.Join(strings.Split(lines, "\n"), "; "))
	close(g.dead)
	return false
}

func (g *guest) died() <-chan struct{} { return g.dead }

func (g *guest) obituary() string { return g.how }

func (g *guest) look() (sample, error) {
	if !g.alone() {
		return sample{}, nil
	}
	proc := "/proc/" + strconv.Itoa(g.pid)
	text := g.Run(g.t, fmt.Sprintf("grep VmRSS %s/status; ls %s/fd 2>/dev/null | wc -l; grep '^sock ' %s/memory.stat", proc, proc, g.group()))
	fields := strings.Fields(text) // VmRSS: N kB, N, sock N
	if len(fields) != 6 {
		return sample{}, fmt.Errorf("the guest's figures are %q", text)
	}
	rss, err1 := strconv.ParseInt(fields[1], 10, 64)
	files, err2 := strconv.Atoi(fields[3])
	sockets, err3 := strconv.ParseInt(fields[5], 10, 64)
	return sample{RSS: rss << 10, Descriptors: files, Sockets: sockets}, errors.Join(err1, err2, err3)
}

func (g *guest) peak() (peak, error) {
	if !g.alone() {
		return g.last, nil
	}
	text := g.Run(g.t, fmt.Sprintf("grep VmHWM /proc/%d/status; grep Threads /proc/%d/status; cat %s/memory.peak", g.pid, g.pid, g.group()))
	fields := strings.Fields(text) // VmHWM: N kB Threads: N N
	if len(fields) != 6 {
		return g.last, fmt.Errorf("the guest's figures are %q", text)
	}
	rss, err1 := strconv.ParseInt(fields[1], 10, 64)
	threads, err2 := strconv.Atoi(fields[4])
	total, err3 := strconv.ParseInt(fields[5], 10, 64)
	g.last = peak{RSS: rss << 10, Total: total, Threads: threads}
	return g.last, errors.Join(err1, err2, err3)
}

func (g *guest) processor() (ran, waited time.Duration) { return 0, 0 }

// gap asks systemd once a second when the last beat came. What it finds was true:
// a gap between two looks, or one at which the guest was too slow to look, is
// found shorter than it was, by a second or so.
func (g *guest) gap() (func() (time.Duration, error), error) {
	const looking, looks = "hostile-beats.service", "/run/hostile-beats"
	g.Run(g.t, "systemd-run -q -p StandardOutput=truncate:"+looks+" -u "+looking+
		" sh -c 'while read up idle </proc/uptime; do echo $up $(systemctl show -p ActiveState -p WatchdogTimestampMonotonic "+g.Unit+"); sleep 1; done'")
	return func() (time.Duration, error) {
		g.Run(g.t, "systemctl stop "+looking)
		return longestAge(g.Run(g.t, "cat "+looks))
	}, nil
}

// longestAge reads lines of the seconds since the boot, the state of the unit and
// the microseconds from the boot to its last beat, as systemctl show writes them
// (in an order of its own). systemd waits for no beat of a unit that is not up.
func longestAge(text string) (time.Duration, error) {
	longest, looks := time.Duration(0), 0
	for line := range strings.Lines(text) {
		up, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		values := map[string]string{}
		for word := range strings.FieldsSeq(rest) {
			key, value, _ := strings.Cut(word, "=")
			values[key] = value
		}
		now, err1 := strconv.ParseFloat(up, 64)
		beat, err2 := strconv.ParseInt(values["WatchdogTimestampMonotonic"], 10, 64)
		state := values["ActiveState"]
		if err := errors.Join(err1, err2); err != nil || state == "" {
			return 0, fmt.Errorf("a look at the watchdog says %q: %w", line, err)
		}
		if beat == 0 || state != "active" && state != "reloading" {
			continue
		}
		looks++
		longest = max(longest, time.Duration(now*1e9)-time.Duration(beat)*time.Microsecond)
	}
	if looks == 0 {
		return 0, errors.New("the watchdog of the unit was never looked at")
	}
	return longest, nil
}

// reload runs systemctl as often as bySystemctl says. On a guest that is busy
// with clients that takes seconds each time, most of them for systemctl and the
// check of ExecReload=: of more, the first are by the signal alone, which is sent
// in the guest again and again until the service has as many generations more.
func (g *guest) reload(most int) (times int, err error) {
	if most > bySystemctl {
		return g.reloadBySignal(most - bySystemctl)
	}
	output, status := g.Try(g.t, "systemctl reload "+g.Unit)
	g.alone()
	if status != 0 {
		return 0, fmt.Errorf("systemctl reload: exit status %d\n%s", status, output)
	}
	return 1, nil
}

func (g *guest) reloadBySignal(times int) (int, error) {
	const sending = "hostile-reloads.service"
	first, err := g.generation()
	if err != nil {
		return 0, err
	}
	g.Run(g.t, fmt.Sprintf("systemd-run -q -u %s sh -c 'while kill -HUP %d; do sleep 0.2; done'", sending, g.pid))
	last := first
	for moved := time.Now(); last-first < times; time.Sleep(time.Second) {
		now, err := g.generation()
		if err == nil && now < last {
			g.alone()
			return last - first, fmt.Errorf("after %d reloads the service began anew", last-first)
		}
		if err == nil && now != last {
			last, moved = now, time.Now()
		}
		if time.Since(moved) > time.Minute {
			g.alone()
			return last - first, fmt.Errorf("no reload for a minute, after %d (%v)", last-first, err)
		}
	}
	g.Run(g.t, "systemctl stop "+sending)
	g.alone()
	return last - first, nil
}

// generation is that of the configuration in force: one more with each reload.
func (g *guest) generation() (int, error) {
	var f figures
	err := g.asking().ask("/api/v1/system/status", &f)
	return f.Config.Generation, err
}

func (g *guest) restart() error {
	if !g.alone() {
		return errors.New(g.how)
	}
	// A product's limit of starts is for a service that fails; gin-edge-watchdog
	// reboots the device at it.
	output, status := g.Try(g.t, "systemctl reset-failed "+g.Unit+"; systemctl restart "+g.Unit)
	if status != 0 {
		return fmt.Errorf("systemctl restart: exit status %d\n%s", status, output)
	}
	g.pid = g.PID(g.t)
	return nil
}

// stop leaves the daemon running for the next row.
func (g *guest) stop() error { return nil }
