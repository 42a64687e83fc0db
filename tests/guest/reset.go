package guest

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// SerialLength is where the serial log ends now.
func (m *Machine) SerialLength(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(m.Guest.SerialLog)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// SerialSince is what the guest has said on the serial line from there on.
func (m *Machine) SerialSince(t *testing.T, offset int64) string {
	t.Helper()
	text, err := os.ReadFile(m.Guest.SerialLog)
	if err != nil {
		t.Fatal(err)
	}
	return string(text[offset:])
}

// Recovery is how a guest came back from a reset.
type Recovery struct {
	Events    []string      // of QEMU, the reset included
	ToReset   time.Duration // from the fault to the reset
	ToAnswer  time.Duration // from the reset to 200
	Serial    int64         // where the serial log of the new boot begins
	ResetData string
}

// WantWatchdog wants the hardware's watchdog to have reset the guest.
func (r Recovery) WantWatchdog(t *testing.T) {
	t.Helper()
	if !slices.Contains(r.Events, "WATCHDOG") {
		t.Errorf("QEMU told of %v %s: it was not the watchdog that bit", r.Events, r.ResetData)
	}
}

// Reset injects a fault that ends in a reset, and waits for 200 after it. The
// shell has to be logged in again.
func (m *Machine) Reset(t *testing.T, limit time.Duration, inject func()) Recovery {
	t.Helper()
	var r Recovery
	m.QMP.Forget()
	begin := time.Now()
	inject()
	var at time.Time
	for at.IsZero() {
		e, err := m.QMP.Wait(limit, "RESET", "WATCHDOG", "SHUTDOWN", "GUEST_PANICKED")
		if err != nil {
			t.Fatalf("no reset: %v; see %s", err, m.Guest.SerialLog)
		}
		r.Events = append(r.Events, e.Name)
		switch e.Name {
		case "RESET":
			at, r.ResetData = e.Time(), string(e.Data)
		case "SHUTDOWN":
			t.Fatal("the guest has powered itself off")
		}
	}
	r.Serial = m.SerialLength(t)
	r.ToReset = at.Sub(begin)
	fmt.Printf("%s: %v after %.1f s\n", m.Dir, r.Events, r.ToReset.Seconds())
	r.ToAnswer = m.Wait200(t, m.run.BootTimeout).Sub(at)
	return r
}
