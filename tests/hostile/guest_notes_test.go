package hostile

import (
	"testing"
	"time"
)

func TestReadNotes(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want time.Duration
	}{
		"systemd 259": {"95.5: READY=1, STATUS=serving\n97.0: WATCHDOG=1\n101.5: STATUS=degraded (firewall: no)\n102.25: WATCHDOG=1\n", 5250 * time.Millisecond},
		"systemd 252": {"95.5 (READY=1, STATUS=serving)\n97.0 (WATCHDOG=1)\n102.25 (WATCHDOG=1)\n", 5250 * time.Millisecond},
	} {
		heard, err := readNotes(c.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := heard.gap(moment(90), moment(103)); got != c.want {
			t.Errorf("%s: gap %v, want %v", name, got, c.want)
		}
	}
	if _, err := readNotes("Got notification message\n"); err == nil {
		t.Error("a line without a time was read")
	}
}
