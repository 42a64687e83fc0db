package hostile

import (
	"strings"
	"testing"
	"time"
)

func TestParseUnit(t *testing.T) {
	good := "[Service]\n# MemoryMax=1M\nMemoryHigh=48M\nMemoryMax=1G\nTasksMax=128\nLimitNOFILE=8192\nWatchdogSec=7s\nTimeoutStopSec=25s\nEnvironment=A=b\nEnvironment=C=d\n"
	u, err := parseUnit("x.service", good)
	if err != nil {
		t.Fatal(err)
	}
	if u.memoryHigh != 48<<20 || u.memoryMax != 1<<30 || u.tasksMax != 128 || u.files != 8192 || u.watchdog != 7*time.Second ||
		u.stop != 25*time.Second || strings.Join(u.environment, " ") != "A=b C=d" {
		t.Errorf("%+v", u)
	}
	for _, tc := range [][3]string{
		{"MemoryHigh=48M\n", "", "x.service: MemoryHigh=: missing"},
		{"48M", "48 %", "x.service: MemoryHigh=48 %: not a number"},
		{"7s", "soon", "x.service: WatchdogSec=soon: "},
	} {
		if _, err := parseUnit("x.service", strings.Replace(good, tc[0], tc[1], 1)); err == nil || !strings.HasPrefix(err.Error(), tc[2]) {
			t.Errorf("%q for %q: %v", tc[1], tc[0], err)
		}
	}
	if _, err := readUnit("../../" + unitFile); err != nil {
		t.Error(err)
	}
}
