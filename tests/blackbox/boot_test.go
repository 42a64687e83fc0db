package blackbox

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/service"
)

// bootLimit is how long the boot may go on behind the first answer, by the
// guest's clock.
const bootLimit = 10 // seconds

// What systemd writes on the console when a boot does not go as it should: a
// job that waited for a device that never came, and what hung on it.
var (
	bootFaults = regexp.MustCompile(`Timed out waiting for [^\r\n]*|Dependency failed for [^\r\n]*`)
	// With the unit's description or its name, whatever the release prefers.
	bootEnd = regexp.MustCompile(`Reached target [^\r\n]*([mM]ulti-[uU]ser)`)
)

// The boot ends, and no job of it has waited in vain for what the machine does
// not have, a console for one. On a production image the console is all there
// is to see; a job waits 90 s before it gives up. Where somebody can log in on
// the console, systemd leaves it to the login before the boot's end, and what
// it says from then on is in the journal only.
func TestBootEnds(t *testing.T) {
	if target.serialLog == "" {
		t.Skipf("target %s does not boot", target.kind)
	}
	guest, _ := target.control.(*guestControl)
	var heard string
	eventually(t, 3*time.Minute, "multi-user.target on the console", func() bool {
		heard = string(must(os.ReadFile(target.serialLog)))
		if guest != nil {
			heard += guest.Run(t, "journalctl -b -q --no-pager -o cat _PID=1 | grep -e 'Reached target' -e 'Timed out' -e 'Dependency failed' || :")
		}
		return bootEnd.MatchString(heard)
	})
	if faults := bootFaults.FindAllString(heard, -1); faults != nil {
		t.Errorf("on the console:\n%s", strings.Join(faults, "\n"))
	}
}

// Neither is a job left, and the end came soon after the service answered. Runs
// before the other tests, as the first of a package's files: they restart the
// service.
func TestNoJobIsLeft(t *testing.T) {
	g := needGuest(t)
	if state, _ := g.Try(t, "systemctl is-system-running --wait"); state != "running" {
		t.Errorf("the system is %s", state)
	}
	if jobs := g.Run(t, "systemctl list-jobs --no-legend --no-pager"); jobs != "" && !strings.HasPrefix(jobs, "No jobs") {
		t.Errorf("jobs are left:\n%s", jobs)
	}
	for _, result := range []string{"timeout", "dependency"} {
		if lost := g.Run(t, "journalctl -b -q --no-pager -o cat JOB_RESULT="+result); lost != "" {
			t.Errorf("jobs that ended with %s:\n%s", result, lost)
		}
	}

	// Both in seconds since the kernel's start.
	boot := decode[struct {
		BootID string `json:"boot_id"`
	}](t, get(t, "/api/v1/system/status").Body).BootID
	answered := 0.0
	for _, event := range events(t, "?cursor=0&limit=1000").Events {
		if event.BootID == boot && event.Kind == "service_start" {
			answered = event.UptimeSeconds
			break
		}
	}
	finished := service.Number(t, g.Run(t, "systemctl show -P FinishTimestampMonotonic")) / 1e6
	if answered == 0 || finished == 0 {
		t.Fatalf("the service started at %.1f s, the boot ended at %.1f s: one of them never", answered, finished)
	}
	blame, _ := g.Try(t, "systemd-analyze critical-chain --no-pager 2>&1 | head -n 12")
	t.Logf("the service answered at %.1f s, the boot ended at %.1f s\n%s", answered, finished, blame)
	switch late := finished - answered; {
	case late <= bootLimit:
	case strings.Contains(*bootArgs, "raspberrypi"):
		// QEMU gives the board four cores, whatever the host has.
		t.Skipf("ended, but not held to %d s on an emulated board: %.1f s", bootLimit, late)
	default:
		t.Errorf("the boot ended %.1f s after the first answer, want at most %d s", late, bootLimit)
	}
}
