package hostile

import (
	"testing"
	"time"
)

func TestLongestAge(t *testing.T) {
	const text = "100.00 active 99500000\n101.10 reloading 98000000\n102.00 deactivating 90000000\n103.00 active 0\n104.00 active 104100000\n"
	if got, err := longestAge(text); err != nil || got != 3100*time.Millisecond {
		t.Errorf("%v, %v; want 3.1 s", got, err)
	}
	for _, bad := range []string{"", "100.00 inactive 0\n", "100.00 active\n", "x active 1\n", "1.0 active y\n"} {
		if got, err := longestAge(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
