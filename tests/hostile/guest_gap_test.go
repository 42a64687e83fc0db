package hostile

import (
	"fmt"
	"testing"
	"time"
)

func TestLongestAge(t *testing.T) {
	look := func(up float64, beat int64, state string) string {
		return fmt.Sprintf("%.2f WatchdogTimestampMonotonic=%d ActiveState=%s\n", up, beat, state)
	}
	text := look(100, 99500000, "active") + look(101.1, 98000000, "reloading") + look(102, 90000000, "deactivating") +
		look(103, 0, "active") + look(104, 104100000, "active") + "104.50 ActiveState=active WatchdogTimestampMonotonic=104100000\n"
	if got, err := longestAge(text); err != nil || got != 3100*time.Millisecond {
		t.Errorf("%v, %v; want 3.1 s", got, err)
	}
	for _, bad := range []string{"", look(100, 0, "inactive"), "100.00 ActiveState=active\n", "100.00\n",
		"x ActiveState=active WatchdogTimestampMonotonic=1\n", "1.0 WatchdogTimestampMonotonic=1\n"} {
		if got, err := longestAge(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
