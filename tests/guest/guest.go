// Package guest is a running guest for tests that break it: it is started, asked
// from outside and on its serial line, reset, and held to be healthy afterwards.
package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/vm"
)

const (
	// An emulated guest on a busy machine is slow to boot, to start a shell,
	// and to run a command in it.
	firstTimeout = 30 * time.Minute
	// LoginTimeout is how long it may take to get a shell.
	LoginTimeout = 5 * time.Minute
	// RunTimeout is how long a command in the guest may take.
	RunTimeout = 5 * time.Minute
)

// Run is what all guests of a run of tests have in common.
type Run struct {
	Root   string // the checkout
	Folder string // logs and disks, a folder of each guest; its path is short: unix sockets are in it

	// BootTimeout is for the next boot. Guests that are started side by side only
	// read it.
	BootTimeout time.Duration
}

// Machine is a running guest with a shell on its serial line.
type Machine struct {
	vm.Shell
	Guest *vm.Guest
	QMP   *vm.QMP
	Dir   string        // of its logs
	Disk  string        // an image of its own, or ""
	Boot  time.Duration // from power-on to 200, of the host's clock
	Ended bool

	run *Run
}

// NewRun has the timeout of a first boot.
func NewRun(root, folder string) *Run {
	return &Run{Root: root, Folder: folder, BootTimeout: firstTimeout}
}

// Booted bounds the boots after one that took so long.
func (r *Run) Booted(took time.Duration) {
	r.BootTimeout = min(firstTimeout, max(8*time.Minute, 5*took))
}

// Start runs the script, scripts/boot or scripts/try, until the guest's first 200.
// name is that of its folder. The machine owns the disk, if one is named.
func (r *Run) Start(name, disk, script string, args ...string) (*Machine, error) {
	m := &Machine{Dir: filepath.Join(r.Folder, name), Disk: disk, run: r}
	args = append(args, "--dir", m.Dir, "--timeout", strconv.Itoa(int(r.BootTimeout.Seconds())))
	var err error
	if m.Guest, err = vm.Start(filepath.Join(r.Root, script), args...); err != nil {
		return nil, fmt.Errorf("%w; see %s", err, m.Dir)
	}
	fail := func(err error) (*Machine, error) { return nil, errors.Join(err, m.Guest.Stop()) }
	if m.QMP, err = m.Guest.QMP(); err != nil {
		return fail(err)
	}
	m.Shell = vm.Shell{Limit: RunTimeout, Log: m.Guest.SerialLog}
	if m.Console, err = vm.Dial(m.Guest.ConsolePath); err != nil {
		return fail(err)
	}
	fields := strings.Fields(m.Guest.FirstAnswer)
	seconds, err := strconv.ParseFloat(fields[len(fields)-2], 64)
	if err != nil {
		return fail(err)
	}
	m.Boot = time.Duration(seconds * float64(time.Second))
	return m, nil
}

// End cuts the power. The disks of what failed are kept.
func (m *Machine) End(failed bool) {
	if m.Ended {
		return
	}
	m.Ended = true
	_ = m.Console.Close()
	if err := m.Guest.Kill(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", m.Dir, err)
	}
	if !failed {
		_ = os.Remove(filepath.Join(m.Dir, "overlay.qcow2"))
		_ = os.Remove(filepath.Join(m.Dir, "disk.raw"))
		if m.Disk != "" {
			_ = os.Remove(m.Disk)
		}
	}
}

// --- the shell of the guest -------------------------------------------------

// Login waits for the shell.
func (m *Machine) Login(t *testing.T) {
	t.Helper()
	if err := m.Console.Login(LoginTimeout); err != nil {
		t.Fatalf("%v; see %s", err, m.Guest.SerialLog)
	}
}

// Later runs a command when the shell has answered: one that ends the guest.
func (m *Machine) Later(t *testing.T, command string) {
	t.Helper()
	m.Run(t, "(sleep 1; "+command+") >/dev/null 2>&1 &")
}

// Number is what a command prints.
func (m *Machine) Number(t *testing.T, command string) float64 {
	t.Helper()
	value, err := strconv.ParseFloat(m.Run(t, command), 64)
	if err != nil {
		t.Fatalf("guest: %s: %v", command, err)
	}
	return value
}

// Eventually asks until the answer is yes.
func Eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s in vain", limit, what)
		}
	}
}
