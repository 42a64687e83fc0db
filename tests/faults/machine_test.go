package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/vm"
)

const (
	// An emulated guest on a busy machine is slow to boot, to start a shell,
	// and to run a command in it. Boots after the first are measured by it.
	firstTimeout = 30 * time.Minute
	loginTimeout = 5 * time.Minute
	runTimeout   = 5 * time.Minute

	daemon = "gin-edged.service"
)

// bootTimeout is for the next boot. Power cuts, which run side by side, only read
// it.
var bootTimeout = firstTimeout

// client makes a connection of its own for each request: a guest that was
// reset does not know the old ones.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// kit is what a guest was started with: enough to start another disk with it.
type kit struct {
	arch, kernel, initrd, line, memory string

	base string // the disk image that nobody writes to
	size int64  // of the disk that the guest sees, in bytes
}

// machine is a running guest.
type machine struct {
	vm.Shell
	guest *vm.Guest
	qmp   *vm.QMP
	dir   string
	disk  string        // an image of its own, or ""
	boot  time.Duration // from power-on to 200, of the host's clock
	ended bool
}

// startTarget starts a guest as its user does. profile goes to scripts/try; an
// image has its own.
func startTarget(name, profile string, args ...string) (*machine, error) {
	script := "scripts/boot"
	if kind, arch, _ := strings.Cut(*targetFlag, ":"); kind == "try" {
		script = "scripts/try"
		args = append(args, "--log-profile", profile)
		if arch != "" {
			args = append(args, "--arch", arch)
		}
	}
	return start(name, "", script, append(args, strings.Fields(*bootArgs)...)...)
}

// start boots the kit with a disk image. The machine owns the image.
func (k *kit) start(name, disk string, args ...string) (*machine, error) {
	args = append(args, "--arch", k.arch, "--kernel", k.kernel, "--append", k.line, "--memory", k.memory, "--disk", disk)
	if k.initrd != "" {
		args = append(args, "--initrd", k.initrd)
	}
	return start(name, disk, "scripts/boot", args...)
}

func start(name, disk, script string, args ...string) (*machine, error) {
	m := &machine{dir: filepath.Join(folder, name), disk: disk}
	args = append(args, "--dir", m.dir, "--timeout", strconv.Itoa(int(bootTimeout.Seconds())))
	var err error
	if m.guest, err = vm.Start(filepath.Join(root, script), args...); err != nil {
		return nil, fmt.Errorf("%w; see %s", err, m.dir)
	}
	fail := func(err error) (*machine, error) { return nil, errors.Join(err, m.guest.Stop()) }
	if m.qmp, err = m.guest.QMP(); err != nil {
		return fail(err)
	}
	m.Shell = vm.Shell{Limit: runTimeout, Log: m.guest.SerialLog}
	if m.Console, err = vm.Dial(m.guest.ConsolePath); err != nil {
		return fail(err)
	}
	fields := strings.Fields(m.guest.FirstAnswer)
	seconds, err := strconv.ParseFloat(fields[len(fields)-2], 64)
	if err != nil {
		return fail(err)
	}
	m.boot = time.Duration(seconds * float64(time.Second))
	return m, nil
}

// end cuts the power. The disks of what failed are kept.
func (m *machine) end(failed bool) {
	if m.ended {
		return
	}
	m.ended = true
	_ = m.Console.Close()
	if err := m.guest.Kill(); err != nil {
		fmt.Fprintf(os.Stderr, "faults: %s: %v\n", m.dir, err)
	}
	if !failed {
		_ = os.Remove(filepath.Join(m.dir, "overlay.qcow2"))
		_ = os.Remove(filepath.Join(m.dir, "disk.raw"))
		if m.disk != "" {
			_ = os.Remove(m.disk)
		}
	}
}

// kit reads from QEMU's own command line what it was started with.
func (m *machine) kit(name string) (*kit, error) {
	pid, err := os.ReadFile(filepath.Join(m.dir, "qemu.pid"))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/cmdline")
	if err != nil {
		return nil, err
	}
	words := strings.Split(string(text), "\x00")
	option := func(name string) string {
		if n := slices.Index(words, name); n >= 0 && n+1 < len(words) {
			return words[n+1]
		}
		return ""
	}
	k := &kit{arch: "amd64", kernel: option("-kernel"), line: option("-append"), memory: option("-m")}
	if strings.HasSuffix(words[0], "aarch64") {
		k.arch = "arm64"
	}
	// scripts/try removes its own when it ends.
	if file := option("-initrd"); file != "" {
		k.initrd = filepath.Join(folder, name+".initrd")
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(k.initrd, content, 0o600); err != nil {
			return nil, err
		}
		scratch = append(scratch, k.initrd)
	}
	var nodes []struct {
		Name    string `json:"node-name"`
		Backing string `json:"backing_file"`
		Image   struct {
			Size int64 `json:"virtual-size"`
		}
	}
	if err := m.qmp.Execute("query-named-block-nodes", nil, &nodes); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.Name == "overlay" {
			k.base, k.size = n.Backing, n.Image.Size
		}
	}
	if k.kernel == "" || k.memory == "" || k.base == "" || k.size == 0 {
		return nil, fmt.Errorf("QEMU's command line or its disk is not as scripts/boot makes them: %+v", *k)
	}
	return k, nil
}

// --- the shell of the guest -------------------------------------------------

func (m *machine) login(t *testing.T) {
	t.Helper()
	if err := m.Console.Login(loginTimeout); err != nil {
		t.Fatalf("%v; see %s", err, m.guest.SerialLog)
	}
}

// later runs a command when the shell has answered: one that ends the guest.
func (m *machine) later(t *testing.T, command string) {
	t.Helper()
	m.Run(t, "(sleep 1; "+command+") >/dev/null 2>&1 &")
}

func (m *machine) number(t *testing.T, command string) float64 {
	t.Helper()
	value, err := strconv.ParseFloat(m.Run(t, command), 64)
	if err != nil {
		t.Fatalf("guest: %s: %v", command, err)
	}
	return value
}

// --- the service ------------------------------------------------------------

type status struct {
	BootID        string  `json:"boot_id"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	Service       struct{ PID int }
	Data          *struct{ State string } // nil where the service does not tell
	LastReset     struct{ Cause string }  `json:"last_reset"`
	Connections   struct{ Limit int }
	Health        report
}

type report struct {
	Status string
	Checks []struct {
		Name   string
		OK     bool
		Detail string
	}
}

// get asks and decodes the answer into result, unless that is nil.
func (m *machine) get(path string, limit time.Duration, result any) (int, error) {
	asking := *client
	asking.Timeout = limit
	answer, err := asking.Get(m.guest.URL + path)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && result != nil && answer.StatusCode < 400 {
		err = json.Unmarshal(body, result)
	}
	if err != nil {
		return 0, fmt.Errorf("GET %s: %w", path, err)
	}
	return answer.StatusCode, nil
}

func (m *machine) status(t *testing.T) status {
	t.Helper()
	var s status
	if code, err := m.get("/api/v1/system/status", time.Minute, &s); err != nil || code != http.StatusOK {
		t.Fatalf("/api/v1/system/status: %d, %v", code, err)
	}
	return s
}

// loopback asks from inside the guest and returns what of the answer matches the
// basic regular expression: a long line rarely comes over the serial line whole.
// "" when nothing answers.
func (m *machine) loopback(t *testing.T, path, pattern string) string {
	t.Helper()
	ask := "wget -q -T 10 -O - http://127.0.0.1" + path
	if _, status := m.Try(t, "command -v wget"); status != 0 {
		ask = `bash -c "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET ` + path + ` HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; cat <&3"`
	}
	answer, _ := m.Try(t, ask+" | grep -o '"+pattern+"'")
	return answer
}

// wait200 asks until /livez answers 200, and returns when that was.
func (m *machine) wait200(t *testing.T, limit time.Duration) time.Time {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		// A request to a guest that is being reset is never answered.
		if code, err := m.get("/livez", 2*time.Second, nil); err == nil && code == http.StatusOK {
			return time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatalf("no 200 from /livez within %v; see %s", limit, m.guest.SerialLog)
		}
	}
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s in vain", limit, what)
		}
	}
}

// wantHealthy checks what every fault must leave behind: no failed unit and no
// cycle in their order. It waits until the boot is over.
func (m *machine) wantHealthy(t *testing.T) {
	t.Helper()
	if state, _ := m.Try(t, "systemctl is-system-running --wait"); state != "running" {
		t.Errorf("the system is %s; failed units:\n%s", state, m.Run(t, "systemctl --failed --no-legend --plain --no-pager"))
	}
	if cycles, _ := m.Try(t, "journalctl -b -q --no-pager -o cat | grep -ai 'ordering cycle'"); cycles != "" {
		t.Errorf("ordering cycles:\n%s", cycles)
	}
}

// --- resets -----------------------------------------------------------------

// serialLength is where the serial log ends now.
func (m *machine) serialLength(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(m.guest.SerialLog)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func (m *machine) serialSince(t *testing.T, offset int64) string {
	t.Helper()
	text, err := os.ReadFile(m.guest.SerialLog)
	if err != nil {
		t.Fatal(err)
	}
	return string(text[offset:])
}

// recovery is how a guest came back from a reset.
type recovery struct {
	events    []string      // of QEMU, the reset included
	toReset   time.Duration // from the fault to the reset
	toAnswer  time.Duration // from the reset to 200
	serial    int64         // where the serial log of the new boot begins
	resetData string
}

func (r recovery) wantWatchdog(t *testing.T) {
	t.Helper()
	if !slices.Contains(r.events, "WATCHDOG") {
		t.Errorf("QEMU told of %v %s: it was not the watchdog that bit", r.events, r.resetData)
	}
}

// reset injects a fault that ends in a reset, and waits for 200 after it. The
// shell has to be logged in again.
func (m *machine) reset(t *testing.T, limit time.Duration, inject func()) recovery {
	t.Helper()
	var r recovery
	m.qmp.Forget()
	begin := time.Now()
	inject()
	var at time.Time
	for at.IsZero() {
		e, err := m.qmp.Wait(limit, "RESET", "WATCHDOG", "SHUTDOWN", "GUEST_PANICKED")
		if err != nil {
			t.Fatalf("no reset: %v; see %s", err, m.guest.SerialLog)
		}
		r.events = append(r.events, e.Name)
		switch e.Name {
		case "RESET":
			at, r.resetData = e.Time(), string(e.Data)
		case "SHUTDOWN":
			t.Fatal("the guest has powered itself off")
		}
	}
	r.serial = m.serialLength(t)
	r.toReset = at.Sub(begin)
	fmt.Printf("faults: %v after %.1f s\n", r.events, r.toReset.Seconds())
	r.toAnswer = m.wait200(t, bootTimeout).Sub(at)
	return r
}

// note fills the line of the table: times, and the cause that the guest tells
// in its file and on the serial line. It returns the detail of the cause. The
// shell is logged in afterwards.
func (r *result) note(t *testing.T, m *machine, back recovery, causes ...string) string {
	t.Helper()
	r.took = fmt.Sprintf("reset %.1f s + boot %.1f s", back.toReset.Seconds(), back.toAnswer.Seconds())
	m.login(t)
	text, _ := m.Try(t, "cat /run/gin-edge-boot/reset-cause")
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		fields[key] = value
	}
	r.cause = fields["cause"]
	if !slices.Contains(causes, r.cause) {
		t.Errorf("the recorded cause is %q (%s), want %v", r.cause, fields["detail"], causes)
	}
	if told := "last reset: " + r.cause + ":"; !strings.Contains(m.serialSince(t, back.serial), told) {
		t.Errorf("the serial line does not say %q", told)
	}
	return fields["detail"]
}

// warm is how long an orderly reboot takes from the reset to 200. A cold boot
// is no measure: emulated, it was seen to be several times as fast as one after
// a reset.
var warm time.Duration

// attempts is how often a time is measured, on a machine that may be busy: what
// holds in one pair of measurements, holds.
const attempts = 3

// recovers injects a fault that ends in a reset until the time from the reset
// to 200 is at most 1.2 times that of a boot. check looks at each recovery, with
// the shell logged in.
func (r *result) recovers(t *testing.T, m *machine, inject func(), check func(recovery)) {
	t.Helper()
	var took []string
	for range attempts {
		if warm == 0 {
			warm = m.reset(t, 5*time.Minute, func() { m.later(t, "systemctl reboot") }).toAnswer
			m.login(t)
		}
		back := m.reset(t, 2*time.Minute, inject)
		check(back)
		took = append(took, fmt.Sprintf("%.1f s after %.1f s for a boot", back.toAnswer.Seconds(), warm.Seconds()))
		fmt.Printf("faults: from the reset to 200: %s\n", took[len(took)-1])
		if back.toAnswer <= warm*12/10 {
			return
		}
		warm = 0
	}
	t.Errorf("from the reset to 200, want at most 1.2 x a boot: %s", strings.Join(took, ", "))
}

// --- the guest that most faults share ---------------------------------------

var (
	shared    *machine
	sharedKit *kit
	sharedErr error // a guest that did not start once is not tried again
)

// running returns the shared guest with root logged in. A test that fails takes
// it out of use, and keeps its disk.
func running(t *testing.T) *machine {
	t.Helper()
	if sharedErr != nil {
		t.Fatalf("no guest: %v", sharedErr)
	}
	if shared == nil {
		m, err := startTarget(fmt.Sprintf("%02d-shared", len(results)), "volatile")
		if err != nil {
			sharedErr = err
			t.Fatal(err)
		}
		bootTimeout = min(firstTimeout, max(8*time.Minute, 5*m.boot))
		fmt.Printf("faults: a guest is up: %s; serial log: %s\n", m.guest.FirstAnswer, m.guest.SerialLog)
		shared = m
		if sharedKit == nil {
			if sharedKit, err = m.kit("shared"); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { discard(t) })
		m.login(t)
		m.wantHealthy(t)
		return m
	}
	t.Cleanup(func() { discard(t) })
	return shared
}

func discard(t *testing.T) {
	if t.Failed() && shared != nil {
		shared.end(true)
		shared = nil
	}
}
