// Package health keeps what /livez and /readyz say: the loops of the process,
// each of which has to beat within its own limit, and the checks that decide
// whether work should be sent here.
//
// Liveness is made of loops, and of the checks that a product adds. It never
// depends on the network or on another service: a restart of this process would
// not repair those.
package health

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Check is one line of a report.
type Check struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Degraded bool   `json:"degraded,omitempty"` // not ok, but work can be done
	Detail   string `json:"detail,omitempty"`
}

// Report is the body of /livez and /readyz.
type Report struct {
	Status string  `json:"status"` // "ok", "degraded" or "failed"
	Checks []Check `json:"checks"`
}

// OK says whether no check failed. The report may be degraded.
func (r Report) OK() bool { return r.Status == "ok" || r.Status == "degraded" }

// Failed names the failed checks with their details, or is "".
func (r Report) Failed() string {
	var failed []string
	for _, c := range r.Checks {
		if !c.OK && !c.Degraded {
			failed = append(failed, c.Name+": "+c.Detail)
		}
	}
	return strings.Join(failed, "; ")
}

// Registry holds the loops and checks of one process. The zero value is empty
// and ready for use.
//
// Who asks takes no lock: a flood of questions delays neither the loops nor
// other questions.
type Registry struct {
	mu    sync.Mutex // of who changes the lists, which are replaced as a whole
	loops atomic.Pointer[[]*Loop]
	live  atomic.Pointer[[]namedCheck]
	ready atomic.Pointer[[]namedCheck]
}

// list returns what the pointer leads to, nil before the first change.
func list[T any](p *atomic.Pointer[[]T]) []T {
	if l := p.Load(); l != nil {
		return *l
	}
	return nil
}

type namedCheck struct {
	name  string
	check func() error
}

// Loop is a goroutine's sign of life.
type Loop struct {
	registry *Registry
	name     string
	limit    time.Duration
	last     atomic.Int64 // nanoseconds after start
}

// start is the zero of Loop.last. time.Since reads the monotonic clock, which
// a change of the wall clock does not move.
var start = time.Now()

// Loop registers a loop that promises to call Beat at least once per limit.
// The promise starts now. The report names it "loop/" + name.
func (r *Registry) Loop(name string, limit time.Duration) *Loop {
	l := &Loop{registry: r, name: "loop/" + name, limit: limit}
	l.Beat()
	r.mu.Lock()
	defer r.mu.Unlock()
	loops := append(slices.Clone(list(&r.loops)), l)
	r.loops.Store(&loops)
	return l
}

// Beat says that the loop still turns.
func (l *Loop) Beat() { l.last.Store(int64(time.Since(start))) }

// End takes a loop that was stopped on purpose out of the reports.
func (l *Loop) End() {
	l.registry.mu.Lock()
	defer l.registry.mu.Unlock()
	loops := slices.DeleteFunc(slices.Clone(list(&l.registry.loops)), func(other *Loop) bool { return other == l })
	l.registry.loops.Store(&loops)
}

// Degraded marks the error of a readiness check as one with which the service
// still does its work, only less of it.
func Degraded(err error) error { return degraded{err} }

type degraded struct{ error }

// Degraded is the mark, which edge.Degraded sets, too.
func (degraded) Degraded() bool { return true }

// Live adds a check to /livez and /readyz. It runs on every request of these, so
// it must return at once.
func (r *Registry) Live(name string, check func() error) { r.add(&r.live, name, check) }

// Ready adds a check to /readyz; an error is the reason for "not ready", unless
// it was made by Degraded. The check runs on every request of /readyz, so it must
// return at once.
func (r *Registry) Ready(name string, check func() error) { r.add(&r.ready, name, check) }

func (r *Registry) add(to *atomic.Pointer[[]namedCheck], name string, check func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	checks := append(slices.Clone(list(to)), namedCheck{name, check})
	to.Store(&checks)
}

// LiveReport is the state of all loops and all liveness checks.
func (r *Registry) LiveReport() Report {
	checks := r.loopChecks()
	for _, c := range list(&r.live) {
		check := c.run()
		check.Degraded = false // alive or not
		checks = append(checks, check)
	}
	return report(checks)
}

// ReadyReport is the state of all loops and all checks.
func (r *Registry) ReadyReport() Report {
	checks := r.LiveReport().Checks
	for _, c := range list(&r.ready) {
		checks = append(checks, c.run())
	}
	return report(checks)
}

func (c namedCheck) run() Check {
	check := Check{Name: c.name, OK: true}
	if err := c.check(); err != nil {
		check.OK, check.Detail = false, err.Error()
		var mark interface{ Degraded() bool }
		check.Degraded = errors.As(err, &mark) && mark.Degraded()
	}
	return check
}

func (r *Registry) loopChecks() []Check {
	loops := list(&r.loops)
	checks := make([]Check, 0, len(loops)+len(list(&r.ready)))
	now := time.Since(start)
	for _, l := range loops {
		check := Check{Name: l.name, OK: true}
		if age := now - time.Duration(l.last.Load()); age > l.limit {
			check.OK = false
			check.Detail = fmt.Sprintf("no beat for %.1f s, limit %.1f s", age.Seconds(), l.limit.Seconds())
		}
		checks = append(checks, check)
	}
	return checks
}

func report(checks []Check) Report {
	r := Report{Status: "ok", Checks: checks}
	for _, c := range checks {
		switch {
		case c.OK:
		case c.Degraded:
			r.Status = "degraded"
		default:
			r.Status = "failed"
			return r
		}
	}
	return r
}
