package hostile

import (
	"testing"
	"time"
)

func TestGap(t *testing.T) {
	second := func(n float64) time.Time { return time.Unix(0, int64(n*1e9)) }
	var n notes
	for _, heard := range []struct {
		at   float64
		what string
	}{
		{0, "READY=1\nSTATUS=x"}, {2, "WATCHDOG=1"}, {4, "WATCHDOG=1"},
		{5, "RELOADING=1\nMONOTONIC_USEC=5"}, {6, ready}, // is no beat
		{9, "WATCHDOG=1"}, {10, "STOPPING=1\nEXTEND_TIMEOUT_USEC=1"}, {10.5, "WATCHDOG=1"},
		{30, ready}, {33, "WATCHDOG=1"},
	} {
		n.hear(second(heard.at), heard.what)
	}
	for _, tc := range []struct{ begin, now, want float64 }{
		{0, 34, 5},    // from 4 to 9; not from 10.5 to 30
		{8.5, 34, 5},  // it was open when the time began
		{9.5, 34, 3},  // from 30 to 33
		{9.5, 40, 7},  // and the one that is open now
		{33.5, 34, 1}, // it began before
	} {
		if got := n.gap(second(tc.begin), second(tc.now)); got != time.Duration(tc.want*1e9) {
			t.Errorf("from %v to %v: %v, want %v", tc.begin, tc.now, got, tc.want)
		}
	}
	if n.count(ready) != 3 {
		t.Errorf("%d READY", n.count(ready))
	}
}
