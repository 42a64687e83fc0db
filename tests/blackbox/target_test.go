package blackbox

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/service"
)

// Target is a service under test.
type Target struct {
	kind string // process, try, image or address
	url  string
	stop func() error

	serialLog string // what the guest has said; "" without a guest

	// control is nil where the service cannot be stopped, reloaded or
	// configured; uncontrolled then says why.
	control      control
	uncontrolled string
}

// control is what an operator of the device does. Errors fail the test.
type control interface {
	// writeConfig replaces the last layer of the configuration and returns its
	// path; an empty text removes it.
	writeConfig(t *testing.T, text string) string
	// signal sends it to the daemon.
	signal(t *testing.T, name string)
	// beginStop asks the service to stop and does not wait.
	beginStop(t *testing.T)
	// exitStatus waits for the end of the service.
	exitStatus(t *testing.T) int
	start(t *testing.T)
	// logged tells whether a record of the service, its fields included,
	// contains the text.
	logged(t *testing.T, text string) bool
	// command runs gin-edged beside the running service, with a file that
	// holds the text; fileArgument stands for its path.
	command(t *testing.T, file string, environment []string, args ...string) (output string, status int)
}

// fileArgument stands for a path in the arguments and the output of
// control.command.
const fileArgument = "FILE"

// label is what the API calls a file of the configuration: it shows no paths.
func label(path string) string {
	if path == service.LastLayer(*dataFlag) {
		return "data/" + filepath.Base(path)
	}
	return filepath.Base(path)
}

func needControl(t *testing.T) control {
	t.Helper()
	if target.control == nil {
		t.Skip(target.uncontrolled)
	}
	return target.control
}

// needGuest returns the shell of a guest.
func needGuest(t *testing.T) *guestControl {
	t.Helper()
	guest, ok := needControl(t).(*guestControl)
	if !ok {
		t.Skipf("target %s is no guest", target.kind)
	}
	return guest
}

// configure writes the last layer, reloads, and waits until it is in force.
// Afterwards the service has its first configuration again.
func configure(t *testing.T, text string) {
	t.Helper()
	c := needControl(t)
	t.Cleanup(func() {
		c.writeConfig(t, "")
		if outcome := reload(t, c); !outcome.OK {
			t.Errorf("the first configuration is refused: %s", outcome.Error)
		}
	})
	c.writeConfig(t, text)
	if outcome := reload(t, c); !outcome.OK {
		t.Fatalf("the configuration is refused: %s", outcome.Error)
	}
}

// reload sends SIGHUP and returns what the service says about the outcome.
func reload(t *testing.T, c control) Reload {
	t.Helper()
	before := status(t).Config.LastReload
	c.signal(t, "HUP")
	var outcome Reload
	eventually(t, 30*time.Second, "the reload to end", func() bool {
		now := status(t).Config.LastReload
		if now == nil || before != nil && now.At.Equal(before.At) {
			return false
		}
		outcome = *now
		return true
	})
	return outcome
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		if done() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s in vain", limit, what)
		}
	}
}
