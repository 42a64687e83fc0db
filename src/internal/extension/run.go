package extension

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
)

const (
	// A loop that has failed is begun again after firstPause, which doubles up to
	// longestPause. One that has run for steady is as good as new.
	firstPause   = time.Second
	longestPause = time.Minute
	steady       = 5 * time.Minute

	// Checks run at this pace, whoever asks and however often.
	checkEvery = time.Second
	checkLimit = time.Second
)

// Run has the checks and loops run until the returned function is called, which
// waits for their end until its context ends. The checks have their first result,
// or have used their time, when Run returns.
func (s *Set) Run(registry *health.Registry, log *logrus.Logger, record func(events.Event)) (end func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var first []<-chan struct{}
	for _, e := range s.all {
		add := func(c edge.Check, register func(string, func() error)) {
			p := &probe{run: c.Run}
			asked := make(chan struct{})
			first = append(first, asked)
			register(e.Name+"/"+c.Name, p.result)
			wg.Go(func() { p.loop(ctx, asked) })
		}
		for _, c := range e.Live {
			add(c, registry.Live)
		}
		for _, c := range e.Ready {
			add(c, registry.Ready)
		}
		for _, l := range e.Loops {
			name := e.Name + "/" + l.Name
			k := &keeper{
				Loop: l, name: name, record: record, extension: e.Name,
				log:  log.WithFields(logrus.Fields{fieldExtension: e.Name, "loop": l.Name}),
				life: registry.Loop(name, l.Limit),
			}
			registry.Ready(name, k.ready)
			wg.Go(func() { k.keep(ctx) })
		}
	}
	limit := time.After(checkLimit)
	for _, asked := range first {
		select {
		case <-asked:
		case <-limit:
			limit = closedTime
		}
	}
	return func(wait context.Context) error {
		cancel()
		ended := make(chan struct{})
		go func() {
			wg.Wait()
			close(ended)
		}()
		select {
		case <-ended:
			return nil
		case <-wait.Done():
			return errors.New("a loop or a check of an extension does not end with its context; it is left behind")
		}
	}
}

// closedTime is a limit that is over.
var closedTime = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// probe runs a check beside those who ask for its result.
type probe struct {
	run   func(context.Context) error
	begun atomic.Pointer[time.Time] // of the run that has not returned
	last  atomic.Pointer[outcome]
}

type outcome struct{ err error }

// loop runs the check at its pace; first is closed after the first run.
func (p *probe) loop(ctx context.Context, first chan<- struct{}) {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		now := time.Now()
		p.begun.Store(&now)
		runCtx, cancel := context.WithTimeout(ctx, checkLimit)
		err := guard(func() error { return p.run(runCtx) })
		cancel()
		p.last.Store(&outcome{err})
		p.begun.Store(nil)
		if first != nil {
			close(first)
			first = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// result returns at once.
func (p *probe) result() error {
	if begun := p.begun.Load(); begun != nil {
		if took := time.Since(*begun); took >= checkLimit {
			return fmt.Errorf("the check has not returned for %.0f s", took.Seconds())
		}
	}
	if last := p.last.Load(); last != nil {
		return last.err
	}
	return errors.New("the check has not run yet")
}

// keeper runs a loop again and again.
type keeper struct {
	edge.Loop
	name, extension string
	life            *health.Loop
	log             *logrus.Entry
	record          func(events.Event)
	failure         atomic.Pointer[outcome] // nil: it runs as it should
}

// ready is degraded while the loop is not steady again after a failure.
func (k *keeper) ready() error {
	if f := k.failure.Load(); f != nil {
		return health.Degraded(f.err)
	}
	return nil
}

func (k *keeper) keep(ctx context.Context) {
	defer k.life.End()
	pause := firstPause
	for ctx.Err() == nil {
		begun := time.Now()
		mend := time.AfterFunc(steady, func() { k.failure.Store(nil) })
		err := guard(func() error { return k.Run(ctx, k.life.Beat) })
		mend.Stop()
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) >= steady {
			pause = firstPause
		}
		k.failed(err, pause)
		k.rest(ctx, pause)
		pause = min(2*pause, longestPause)
	}
}

// failed tells why a loop has ended before its time.
func (k *keeper) failed(err error, pause time.Duration) {
	entry := k.log
	var p *panicked
	if errors.As(err, &p) {
		entry = entry.WithField(fieldStack, string(p.stack))
	}
	if err == nil {
		err = errors.New("it has returned, and should run until its context ends")
	}
	err = fmt.Errorf("loop %s has ended: %w; it is begun again after %v", k.name, err, pause)
	k.failure.Store(&outcome{err})
	entry.Error(err.Error())
	k.record(events.Event{Kind: events.Kind(k.extension + "_loop"), Severity: events.Error, Message: err.Error()})
}

// rest waits, and beats meanwhile in the loop's place.
func (k *keeper) rest(ctx context.Context, pause time.Duration) {
	ticker := time.NewTicker(lowLimit / 2)
	defer ticker.Stop()
	over := time.NewTimer(pause)
	defer over.Stop()
	for {
		k.life.Beat()
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			k.life.Beat()
			return
		case <-ticker.C:
		}
	}
}
