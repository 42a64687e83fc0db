package hostile

import (
	"strings"
	"testing"
	"time"
)

// Each limit bites when it is passed, and none before.
func TestJudge(t *testing.T) {
	u := &unit{memoryHigh: 48 << 20, tasksMax: 128, watchdog: 7 * time.Second}
	good := func() *trial {
		return &trial{
			attack: attack{connections: 100},
			pace:   pace{native: true},
			row: &row{
				Peak: peak{RSS: 30 << 20, Total: 48 << 20, Threads: 128}, Gap: 3500 * time.Millisecond, Opened: 100,
				Yard: summary{Requests: 100, P99: 20 * time.Millisecond}, Honest: summary{Requests: 100, P99: 250 * time.Millisecond},
				Reload: &kept{Requests: 100}, Restart: &kept{Requests: 100},
			},
		}
	}
	for _, tc := range []struct {
		change func(*trial)
		want   string // "": no fault
	}{
		{func(*trial) {}, ""},
		{func(t *trial) { t.Killed = "signal: killed" }, "the daemon was ended: signal: killed"},
		{func(t *trial) { t.Peak.RSS = 49 << 20 }, "49 MiB (RSS 49, sockets 0), MemoryHigh= is 48"},
		{func(t *trial) { t.Peak.Total, t.Peak.Sockets = 94<<20, 64<<20 }, "94 MiB (RSS 30, sockets 64), MemoryHigh= is 48"},
		{func(t *trial) { t.Gap += time.Millisecond * 100 }, "3.6 s between two beats"},
		{func(t *trial) { t.Peak.Threads++ }, "129 threads"},
		{func(t *trial) { t.Honest.Failed, t.Honest.Failures = 1, map[string]int{"503": 1} }, "1 of 100 requests of an honest client failed: map[503:1]"},
		{func(t *trial) { t.Honest.Failed, t.over = 1, true }, ""},
		{func(t *trial) { t.Honest = summary{} }, "the honest client made no request"},
		{func(t *trial) { t.Honest.P99 = 251 * time.Millisecond }, "p99 of an honest client is 251 ms, at most 250 (of a server that is not attacked 20; the daemon would have run 0.0 times as long)"},
		{func(t *trial) { t.Honest.P99, t.Yard.P99 = 500*time.Millisecond, 250*time.Millisecond }, ""},
		{func(t *trial) { t.Honest.P99, t.Starved = 500*time.Millisecond, 2 }, ""},
		{func(t *trial) { t.Honest.P99, t.Starved = 1001*time.Millisecond, 9 }, "p99 of an honest client is 1001 ms, at most 1000"},
		{func(t *trial) { t.Honest.P99, t.Gap, t.Starved = time.Minute, time.Minute, 21 }, ""},
		{func(t *trial) {
			t.Honest.Failed, t.Honest.Failures, t.Starved = 3, map[string]int{noAnswer: 2, "reset": 1}, 21
		}, "1 of 100 requests of an honest client failed"},
		{func(t *trial) { t.Honest.P99, t.native = time.Minute, false }, ""},
		{func(t *trial) { t.Reload.Lost = map[string]int{"busy: reset": 2} }, "2 of 100 requests were lost through reloads: map[busy: reset:2]"},
		{func(t *trial) { t.Restart.Lost = map[string]int{"busy: reset": 1} }, "1 of 100 requests were lost through restarts"},
		{func(t *trial) { t.pace.reloads = 2 }, "0 of 2 reloads and 0 of 0 restarts were made"},
		{func(t *trial) { t.pace.reloads, t.Reloads, t.pace.restarts = 2, 2, 1 }, "2 of 2 reloads and 0 of 1 restarts were made"},
		{func(t *trial) { t.Reload = &kept{Refused: 7} }, "keep-alive clients made no request through reloads (7 refused)"},
		{func(t *trial) { t.Reload, t.Restart = nil, nil }, ""},
		{func(t *trial) { t.Opened = 49 }, "only 49 connections were opened"},
	} {
		trial := good()
		tc.change(trial)
		trial.judge(u, nil)
		switch faults := strings.Join(trial.Faults, "; "); {
		case tc.want == "" && faults != "", len(trial.Faults) > 1, !strings.HasPrefix(faults, tc.want):
			t.Errorf("faults %q, want %q", faults, tc.want)
		}
	}
	trial := good()
	if trial.judge(u, map[string]int{"two Hosts: 2 answers": 3}); len(trial.Faults) != 1 || trial.Faults[0] != "two Hosts: 2 answers (3 times)" {
		t.Errorf("%q", trial.Faults)
	}
}
