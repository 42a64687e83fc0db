package faults

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/guest"
)

const daemon = "gin-edged.service"

// machine is a guest to be broken.
type machine struct{ *guest.Machine }

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
	m, err := guests.Start(name, "", script, append(args, strings.Fields(*bootArgs)...)...)
	if err != nil {
		return nil, err
	}
	return &machine{m}, nil
}

// startKit boots the kit with a disk image, which the machine owns.
func startKit(k *guest.Kit, name, disk string, args ...string) (*machine, error) {
	m, err := k.Start(name, disk, args...)
	if err != nil {
		return nil, err
	}
	return &machine{m}, nil
}

// keptInitrd is where a kit's RAM disk goes until the end of the run.
func keptInitrd(name string) string {
	file := filepath.Join(folder, name+".initrd")
	scratch = append(scratch, file)
	return file
}

// note fills the line of the table: times, and the cause that the guest tells
// in its file and on the serial line. It returns the detail of the cause. The
// shell is logged in afterwards.
func (r *result) note(t *testing.T, m *machine, back guest.Recovery, causes ...string) string {
	t.Helper()
	r.took = fmt.Sprintf("reset %.1f s + boot %.1f s", back.ToReset.Seconds(), back.ToAnswer.Seconds())
	m.Login(t)
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
	if told := "last reset: " + r.cause + ":"; !strings.Contains(m.SerialSince(t, back.Serial), told) {
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
func (r *result) recovers(t *testing.T, m *machine, inject func(), check func(guest.Recovery)) {
	t.Helper()
	var took []string
	for range attempts {
		if warm == 0 {
			warm = m.Reset(t, 5*time.Minute, func() { m.Later(t, "systemctl reboot") }).ToAnswer
			m.Login(t)
		}
		back := m.Reset(t, 2*time.Minute, inject)
		check(back)
		took = append(took, fmt.Sprintf("%.1f s after %.1f s for a boot", back.ToAnswer.Seconds(), warm.Seconds()))
		fmt.Printf("faults: from the reset to 200: %s\n", took[len(took)-1])
		if back.ToAnswer <= warm*12/10 {
			return
		}
		warm = 0
	}
	t.Errorf("from the reset to 200, want at most 1.2 x a boot: %s", strings.Join(took, ", "))
}

// --- the guest that most faults share ---------------------------------------

var (
	shared    *machine
	sharedKit *guest.Kit
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
		guests.Booted(m.Boot)
		fmt.Printf("faults: a guest is up: %s; serial log: %s\n", m.Guest.FirstAnswer, m.Guest.SerialLog)
		shared = m
		if sharedKit == nil {
			if sharedKit, err = m.Kit(keptInitrd("shared")); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { discard(t) })
		m.Login(t)
		m.WantHealthy(t)
		return m
	}
	t.Cleanup(func() { discard(t) })
	return shared
}

func discard(t *testing.T) {
	if t.Failed() && shared != nil {
		shared.End(true)
		shared = nil
	}
}
