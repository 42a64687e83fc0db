package sd

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Watchdog feeds systemd's watchdog while the process proves that it works.
type Watchdog struct {
	interval time.Duration
	check    func(context.Context) error
	failed   func(error)
	passed   func()

	mu    sync.Mutex
	stats WatchdogStats
}

// WatchdogStats is what has happened so far. Interval is WatchdogSec= of the
// unit, 0 when the watchdog is off.
type WatchdogStats struct {
	Interval  time.Duration
	LastOK    time.Time
	Failures  uint64
	LastError string
}

// minInterval is the shortest interval that leaves a check time to be made: a
// sixth of it, on the slowest device and under load.
const minInterval = time.Second

// NewWatchdog reads WATCHDOG_USEC and WATCHDOG_PID; an interval below a second is
// an error. check must make a real
// request and return before its context ends; failed is called after each
// failed check, passed after the first good one that follows a failure.
func NewWatchdog(check func(context.Context) error, failed func(error), passed func()) (*Watchdog, error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("WATCHDOG_USEC=%q with WATCHDOG_PID=%q: not what systemd sets: a positive number of microseconds and a process; WatchdogSec= of the unit sets them",
			os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID"))
	}
	if interval != 0 && interval < minInterval {
		return nil, fmt.Errorf("the watchdog's interval of %v (WATCHDOG_USEC) is below %v: no check could be made in time; raise WatchdogSec= of the unit", interval, minInterval)
	}
	return &Watchdog{
		interval: interval,
		check:    check,
		failed:   failed,
		passed:   passed,
		stats:    WatchdogStats{Interval: interval},
	}, nil
}

// Run checks at a third of the interval, each check with half a tick as its
// deadline, and pings systemd after a good one only. It returns when ctx ends,
// and at once when the watchdog is off.
func (w *Watchdog) Run(ctx context.Context) {
	if w.interval == 0 {
		return
	}
	period := w.interval / 3
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	failing := false
	for {
		err := w.tick(ctx, period/2)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failing = true
			w.failed(err)
		case failing:
			failing = false
			w.passed()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *Watchdog) tick(ctx context.Context, deadline time.Duration) error {
	checkCtx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	err := w.check(checkCtx)
	if err == nil && checkCtx.Err() != nil {
		err = fmt.Errorf("the check took longer than %v", deadline)
	}
	if err == nil {
		err = systemd.send(daemon.SdNotifyWatchdog)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.stats.Failures++
		w.stats.LastError = err.Error()
		return err
	}
	w.stats.LastOK = time.Now()
	return nil
}

// Stats returns a copy of the figures.
func (w *Watchdog) Stats() WatchdogStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}
