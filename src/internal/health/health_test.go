package health

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestLoopFailsWithoutBeatAndRecovers(t *testing.T) {
	var r Registry
	slow := r.Loop("slow", 300*time.Millisecond)
	r.Loop("patient", time.Hour)
	if report := r.LiveReport(); !report.OK() || len(report.Checks) != 2 {
		t.Fatalf("a new loop must be good: %+v", report)
	}
	time.Sleep(400 * time.Millisecond)
	report := r.LiveReport()
	if report.OK() || !strings.HasPrefix(report.Failed(), "loop/slow: no beat for ") || strings.Contains(report.Failed(), "patient") {
		t.Fatalf("report = %+v", report)
	}
	slow.Beat()
	if report := r.LiveReport(); !report.OK() || report.Failed() != "" {
		t.Fatalf("after a beat: %+v", report)
	}
	time.Sleep(400 * time.Millisecond)
	slow.End()
	if report := r.LiveReport(); !report.OK() || len(report.Checks) != 1 {
		t.Fatalf("after End: %+v", report)
	}
}

// Who asks needs no lock that anybody holds, nor does a loop that beats.
func TestReportsTakeNoLock(t *testing.T) {
	var r Registry
	loop := r.Loop("x", time.Hour)
	r.Ready("y", func() error { return nil })
	r.mu.Lock()
	defer r.mu.Unlock()
	done := make(chan int)
	go func() {
		loop.Beat()
		done <- len(r.LiveReport().Checks) + len(r.ReadyReport().Checks)
	}()
	select {
	case n := <-done:
		if n != 3 {
			t.Errorf("%d checks", n)
		}
	case <-time.After(time.Minute):
		t.Fatal("a report waits for a lock")
	}
}

func TestReadinessIsNotLiveness(t *testing.T) {
	var r Registry
	cause := errors.New("no link")
	r.Ready("network", func() error { return cause })
	if report := r.ReadyReport(); report.OK() || report.Failed() != "network: no link" {
		t.Errorf("ready = %+v", report)
	}
	if report := r.LiveReport(); !report.OK() {
		t.Errorf("live = %+v", report)
	}
	cause = nil
	if report := r.ReadyReport(); !report.OK() {
		t.Errorf("ready = %+v", report)
	}
}

func TestDegradedIsReadyNevertheless(t *testing.T) {
	var r Registry
	var disk, network error
	r.Ready("disk", func() error { return disk })
	r.Ready("network", func() error { return network })
	for _, tc := range []struct {
		disk, network error
		degraded      bool
		status        string
		ok            bool
		failed        string
	}{
		{nil, nil, false, "ok", true, ""},
		{Degraded(errors.New("full")), nil, true, "degraded", true, ""},
		{Degraded(errors.New("full")), errors.New("no link"), true, "failed", false, "network: no link"},
		{errors.New("gone"), nil, false, "failed", false, "disk: gone"},
	} {
		disk, network = tc.disk, tc.network
		report := r.ReadyReport()
		if report.Status != tc.status || report.OK() != tc.ok || report.Failed() != tc.failed {
			t.Errorf("%v, %v: %+v", tc.disk, tc.network, report)
		}
		if check := report.Checks[0]; check.OK != (tc.disk == nil) || check.Degraded != tc.degraded {
			t.Errorf("%v, %v: %+v", tc.disk, tc.network, check)
		}
	}
}
