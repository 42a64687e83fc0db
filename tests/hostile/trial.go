package hostile

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// subject is the service that one row attacks: it has begun a moment ago, and
// ends with the row.
type subject interface {
	// attacker and keeping are where the source of that number comes from; honest
	// and asking are the addresses of others.
	attacker(number int, a attack) place
	honest() place
	keeping(number int) place
	asking() place

	// look reads what the daemon holds now, but for the goroutines, which only
	// the daemon knows.
	look() (sample, error)
	// peak is the most that it has held so far. After the daemon has died it is
	// what was seen last.
	peak() (peak, error)
	// gap is the longest time between two beats of the watchdog from now on until
	// the function is called, or the daemon has died. One that was open before
	// counts as a whole.
	gap() (until func() (time.Duration, error), err error)
	// processor is how long the daemon has run so far, and how long it has waited
	// for a processor. Both are 0 where nobody can tell.
	processor() (ran, waited time.Duration)
	// died is closed when the daemon has ended, or was replaced, although nobody
	// asked for it; obituary then says how.
	died() <-chan struct{}
	obituary() string

	// reload reloads the configuration once, or as often as most says and a few
	// times more, and says how often it has.
	reload(most int) (times int, err error)
	restart() error
	stop() error
}

// sample is what the daemon holds at a time.
type sample struct {
	RSS         int64 `json:"rss_bytes"`
	Sockets     int64 `json:"socket_bytes"` // that the kernel holds: answers that nobody reads
	Descriptors int   `json:"descriptors"`
	Goroutines  int   `json:"goroutines"`
}

// peak is the most that the daemon has held.
type peak struct {
	RSS     int64 `json:"rss_bytes"`
	Sockets int64 `json:"socket_bytes"` // 0 where only the sum is known
	Total   int64 `json:"total_bytes"`  // as the unit's limits count: with the sockets
	Threads int   `json:"threads"`
}

// pace is what differs between a process and an emulated guest.
type pace struct {
	calm, hold time.Duration
	back       time.Duration // until everything but memory is as before
	native     bool          // times of answers are held to their limit
	follow     bool          // memory to its baseline
	reloads    int
	restarts   int
	pause      time.Duration // at least, before a place opens its next connection
}

const (
	honestLimit = 250 * time.Millisecond // p99 of /livez, natively

	// mostStarved is the factor up to which times are judged. It was 8 to 12 on two
	// cores that built an image, and 130 to 190 where the build had all of them.
	mostStarved = 20

	// keepersOfSource is as many as max_requests_per_source lets ask at a time.
	keepersOfSource = 16

	// The runtime gives memory back when its collector has run, which is after two
	// minutes without work.
	memoryLimit = 180 * time.Second
	memorySlack = 8 << 20
)

// figures are the part of /api/v1/system/status that is looked at.
type figures struct {
	Service struct {
		PID        int
		RSSBytes   int64 `json:"rss_bytes"`
		Goroutines int
	}
	Config      struct{ Generation int }
	Connections struct{ Active, Limit int }
	Logs        struct{ Streams int }
}

// ask fetches JSON over a connection of its own.
func (p place) ask(path string, result any) error {
	answer, err := p.client(false).Get("http://" + p.service + path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(result)
}

// trial makes a row.
type trial struct {
	attack
	pace
	subject
	*row

	between time.Duration // of two reloads
	served  times
	yard    times // of the yardstick, to the same client
	late    atomic.Int64
}

func (t *trial) fault(format string, args ...any) {
	t.Faults = append(t.Faults, fmt.Sprintf(format, args...))
}

// try attacks the subject and says what came of it. An error is one of the
// harness.
func (a attack) try(s subject, p pace, limits *unit) (*row, error) {
	if a.hold > 0 && p.native {
		p.hold = a.hold
	}
	between := 200 * time.Millisecond
	if a.reloads > 0 && p.native {
		p.reloads, between = a.reloads, 10*time.Millisecond
	}
	a.keepers = max(a.keepers, 2)
	p.reloads, p.restarts, a.keepers = cmp.Or(*reloads, p.reloads), cmp.Or(*restarts, p.restarts), cmp.Or(*clients/len(habits), a.keepers)
	a.pause = max(a.pause, p.pause)
	t := &trial{attack: a, pace: p, between: between, subject: s, row: &row{Attack: a.name, Connections: a.connections, Sources: a.sources, Keepers: a.keepers * len(habits)}}
	ctx, cancel := context.WithCancel(context.Background())
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { t.watchLag(ctx) })
	honest(ctx, s.honest(), &t.served, &background)
	honest(ctx, place{honestAddress, yardstick}, &t.yard, &background)
	time.Sleep(p.calm)
	t.Calm = t.served.take()
	t.yard.take()
	var err error
	if t.Before, err = t.sample(); err != nil {
		return t.row, err
	}
	until, err := s.gap()
	if err != nil {
		return t.row, err
	}

	ran, waited := s.processor()
	began := time.Now()
	assault := a.begin(func(n int) place { return s.attacker(n, a) })
	defer assault.end() // a second one does nothing
	t.run(ctx)
	assault.end()
	t.Starved = starved(s, ran, waited)
	t.Opened, t.Held, t.Heard = assault.opened.Load(), assault.most, assault.heard
	if t.alive(0) {
		t.comeBack(time.Now())
	}
	t.Lag = time.Duration(t.late.Load())
	var gapErr, peakErr error
	t.Gap, gapErr = until()
	t.Peak, peakErr = s.peak()
	if !t.alive(0) {
		t.Killed = fmt.Sprintf("%s (%.0f s after the row began)", s.obituary(), time.Since(began).Seconds())
	}
	t.judge(limits, assault.faults)
	return t.row, errors.Join(gapErr, peakErr)
}

// starved is how many times as long the daemon would have run, had it got a
// processor whenever it wanted one.
func starved(s subject, ran, waited time.Duration) float64 {
	ranNow, waitedNow := s.processor()
	if ranNow <= ran {
		return 1
	}
	return 1 + float64(waitedNow-waited)/float64(ranNow-ran)
}

// alive waits, and tells whether the daemon is the one that it was.
func (t *trial) alive(wait time.Duration) bool {
	select {
	case <-t.died():
		return false
	default:
	}
	select {
	case <-t.died():
		return false
	case <-time.After(wait):
		return true
	}
}

// run holds the attack, and reloads and restarts the daemon under it.
func (t *trial) run(ctx context.Context) {
	if t.vanish {
		// Before they are gone.
		t.alive(vanishTime / 2)
		t.wantStreams("before the peers vanish", func(n int) bool { return n > 0 })
	}
	held := t.alive(t.pace.hold)
	if t.vanish && held {
		t.wantStreams(fmt.Sprintf("%.0f s after the peers vanished", (t.pace.hold-vanishTime/2).Seconds()), func(n int) bool { return n == 0 })
	}
	if !held {
		t.Honest, t.Yard = t.served.take(), t.yard.take()
		return
	}
	t.Reload = t.keepThrough(ctx, func() {
		for running := t.alive(300 * time.Millisecond); running && t.Reloads < t.pace.reloads; running = t.alive(t.between) {
			times, err := t.reload(t.pace.reloads - t.Reloads)
			t.Reloads += times
			if err != nil {
				if t.alive(0) {
					t.fault("reload: %v", err)
				}
				return
			}
		}
	})
	// In a restart connections wait until there is someone to take them, so its
	// times are no promise.
	t.Honest, t.Yard = t.served.take(), t.yard.take()
	if t.pace.restarts == 0 || !t.alive(0) {
		return
	}
	t.Restart = t.keepThrough(ctx, func() {
		for running := t.alive(300 * time.Millisecond); running && t.Restarts < t.pace.restarts; running = t.alive(300 * time.Millisecond) {
			if err := t.restart(); err != nil {
				if t.alive(0) {
					t.fault("restart: %v", err)
				}
				return
			}
			t.Restarts++
		}
	})
	t.served.take()
}

// wantStreams looks how many log streams there are: a reload would end them.
func (t *trial) wantStreams(when string, right func(int) bool) {
	var f figures
	if err := t.asking().ask("/api/v1/system/status", &f); err != nil {
		t.fault("%v", err)
	} else if !right(f.Logs.Streams) {
		t.fault("%s there are %d log streams", when, f.Logs.Streams)
	}
}

// keepThrough counts the requests of keep-alive clients while something happens.
func (t *trial) keepThrough(ctx context.Context, what func()) *kept {
	keeping, stop := context.WithCancel(ctx)
	var l lossy
	var clients sync.WaitGroup
	for n := range t.keepers * len(habits) {
		h := habits[n%len(habits)]
		clients.Go(func() { h.keep(keeping, t.keeping(n/keepersOfSource), &l) })
	}
	what()
	stop()
	clients.Wait()
	return l.kept()
}

// watchLag watches how late this machine wakes the harness: a time that was
// measured is up to that much too long.
func (t *trial) watchLag(ctx context.Context) {
	const tick = 10 * time.Millisecond
	for ctx.Err() == nil {
		begin := time.Now()
		time.Sleep(tick)
		if late := int64(time.Since(begin) - tick); late > t.late.Load() {
			t.late.Store(late)
		}
	}
}

// sample is what the daemon holds, its goroutines included.
func (t *trial) sample() (sample, error) {
	var f figures
	err := t.asking().ask("/api/v1/system/status", &f)
	s, lookErr := t.look()
	s.Goroutines = f.Service.Goroutines
	return s, errors.Join(err, lookErr)
}

// comeBack waits until the daemon holds no more than before.
func (t *trial) comeBack(ended time.Time) {
	// The figures' own connection, and those that others have just left.
	const few = 4
	for {
		var err error
		t.After, err = t.sample()
		if err == nil && t.After.Goroutines <= t.Before.Goroutines+few && t.After.Descriptors <= t.Before.Descriptors+few {
			break
		}
		if time.Since(ended) > t.back || !t.alive(0) {
			t.fault("%.0f s after the attack: %+v, before it: %+v (%v)", time.Since(ended).Seconds(), t.After, t.Before, err)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Back = time.Since(ended)
	for t.follow && t.After.RSS > t.Before.RSS+memorySlack {
		if time.Since(ended) > memoryLimit || !t.alive(500*time.Millisecond) {
			t.fault("%.0f s after the attack: RSS %s MiB, before it %s", time.Since(ended).Seconds(), mebibytes(t.After.RSS), mebibytes(t.Before.RSS))
			return
		}
		now, err := t.look()
		if err != nil {
			t.fault("%v", err)
			return
		}
		now.Goroutines, t.After = t.After.Goroutines, now
	}
	t.Memory = time.Since(ended)
}

// judge holds the row to the limits, which come from the unit.
func (t *trial) judge(u *unit, faults map[string]int) {
	if t.Killed != "" {
		t.fault("the daemon was ended: %s", t.Killed)
	}
	// The unit's limits count what the kernel holds for sockets, too.
	if most := max(t.Peak.RSS, t.Peak.Total); most > u.memoryHigh {
		t.fault("%s MiB (RSS %s, sockets %s), MemoryHigh= is %s", mebibytes(most), mebibytes(t.Peak.RSS), mebibytes(t.Peak.Sockets), mebibytes(u.memoryHigh))
	}
	// Where the daemon gets next to no processor, times say nothing of it; what is
	// counted does.
	timed := t.Starved <= mostStarved
	if !timed {
		unchecked("%s: its times: the daemon would have run %.0f times as long, had it got a processor", t.name, t.Starved)
	}
	if limit := u.watchdog / 2; timed && t.Gap > limit {
		t.fault("%s s between two beats of the watchdog, half of WatchdogSec= is %s s (the harness itself was up to %s s late)", seconds(t.Gap), seconds(limit), seconds(t.Lag))
	}
	if t.Peak.Threads > u.tasksMax {
		t.fault("%d threads, TasksMax= is %d", t.Peak.Threads, u.tasksMax)
	}
	n := t.Honest.Failed
	if !timed {
		n -= t.Honest.Failures[noAnswer]
	}
	if n > 0 && !t.over {
		t.fault("%d of %d requests of an honest client failed: %v", n, t.Honest.Requests, t.Honest.Failures)
	}
	if t.Honest.Requests == 0 {
		t.fault("the honest client made no request")
	}
	// A busy machine is slow without an attack, too: it wakes the harness late, and
	// gives the daemon a part of a processor only. That excuses no more than a
	// second.
	alone := time.Duration(float64(honestLimit) * min(max(1, t.Starved), 4))
	if limit := max(alone, 2*t.Yard.P99); t.native && timed && t.Honest.P99 > limit {
		t.fault("p99 of an honest client is %s ms, at most %s (of a server that is not attacked %s; the daemon would have run %.1f times as long)", milliseconds(t.Honest.P99), milliseconds(limit), milliseconds(t.Yard.P99), t.Starved)
	}
	t.judgeKept("reloads", t.Reload)
	t.judgeKept("restarts", t.Restart)
	if t.Killed == "" && (t.Reloads < t.pace.reloads || t.Restarts < t.pace.restarts) {
		t.fault("%d of %d reloads and %d of %d restarts were made", t.Reloads, t.pace.reloads, t.Restarts, t.pace.restarts)
	}
	for what, times := range faults {
		t.fault("%s (%d times)", what, times)
	}
	if t.connections > 0 && t.Opened < int64(t.connections)/2 {
		t.fault("only %d connections were opened: that shows nothing", t.Opened)
	}
	slices.Sort(t.Faults)
}

func (t *trial) judgeKept(when string, k *kept) {
	switch {
	case k == nil:
	case k.lost() > 0:
		t.fault("%d of %d requests were lost through %s: %v", k.lost(), k.Requests, when, k.Lost)
	case k.Requests == 0 && !t.over && t.Killed == "":
		t.fault("keep-alive clients made no request through %s (%d refused): that shows nothing", when, k.Refused)
	}
}
