// Package events is the log of the few things that must still be known after a
// loss of power: boots and what reset the device, starts and stops, the
// watchdog, reloads, the state of the data partition and of the packet filter.
//
// It is two segments of records in a directory of the data partition, events
// and events.old. An event is acknowledged when its record was written and
// synchronised; a cut at any byte loses none that was. A record that is torn at
// the end is removed when the log is opened. Damage elsewhere is not expected
// of a cut: the segment is kept as events.corrupt, the records before and after
// the damage stay in the log, and the log says so.
//
// Without a data partition, or while it is missing, full or read-only, a
// bounded number of events is kept in memory; they are written as soon as that
// is possible. What no longer fits is counted.
//
// Events are kept as the bytes in which they are shown. Who reads takes a view of
// the log that does not change, and no lock: a request never holds up who
// records, nor the main loop, which asks for the state twice a second.
package events

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxPending bounds the events that wait to be written. When one more
	// comes, the oldest after the first keepFirst goes: the beginning of a
	// trouble and its latest state say more than what is between.
	maxPending = 256
	keepFirst  = 64

	// maxHistory bounds the stored events that are in memory, in bytes of JSON:
	// all that the segments hold, and a little more is said of each.
	maxHistory = 2*maxSegment + maxSegment/4

	// Each event writes its record and the file system's metadata, and flash
	// wears. So burst events may come at once, then one per refillSeconds; those
	// above are counted. The events on the disk count from the start of the boot
	// on: a service that fails and restarts for ever is bounded, too. The last
	// reserve events of the burst are for critical ones and for boots.
	burst         = 60
	refillSeconds = 10
	reserve       = 10

	// stuckAfter is how long a write may take before the disk is said not to
	// answer.
	stuckAfter = 10 * time.Second
)

// Options are what a log is made with.
type Options struct {
	BootID string
	Uptime func() float64 // seconds since the boot; it must not wait for a disk
}

// Log takes events from any goroutine and writes them in one of its own.
type Log struct {
	Options
	wake chan struct{}
	stop chan struct{}
	done chan struct{}

	// Of the goroutine in Run alone.
	store    *store
	opened   string // directory of store
	bucket   bucket
	booted   bool   // the boot event of this boot is stored
	starts   int    // stored starts of this boot
	stopped  bool   // the last of them was followed by a stop
	withheld uint64 // suppressed since the last record of that

	view    atomic.Pointer[view]
	writing atomic.Int64 // begin of the write that runs, after the package's; 0 when none does

	mu    sync.Mutex // of who changes next; never held while the disk is used, nor by a reader
	next  view       // what publish makes the view
	bytes int        // of JSON in next.history
}

// New returns a log that keeps its events in memory until Use names a
// directory. Run has to be started.
func New(options Options) *Log {
	l := &Log{
		Options: options,
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		bucket:  bucket{tokens: burst},
		next:    view{run: newEpoch()},
	}
	l.publish()
	return l
}

// publish shows readers what next holds. l.mu is held. Slices of a view are
// shared with the next ones: they may be appended to, and shortened from either
// end by who makes a new view, but no element of them may change.
func (l *Log) publish() {
	v := l.next
	l.view.Store(&v)
}

// Record takes an event; Seq, BootID, Time and UptimeSeconds are set here. It
// never waits for the disk. The event is written at once when that is possible.
func (l *Log) Record(e Event) {
	now := time.Now().UTC()
	e.BootID, e.Time = l.BootID, now.Truncate(time.Millisecond)
	e.UptimeSeconds = math.Round(l.Uptime()*1000) / 1000
	e.Message = cut(e.Message, maxMessage)
	fields := make(map[string]string, len(e.Fields))
	for k, v := range e.Fields {
		fields[k] = cut(v, maxField)
	}
	e.Fields = fields

	l.mu.Lock()
	n := &l.next
	n.last++
	e.Seq = n.last
	if len(n.pending) == maxPending {
		kept := make([]Item, 0, maxPending)
		kept = append(kept, n.pending[:keepFirst]...)
		n.pending = append(kept, n.pending[keepFirst+1:]...)
		n.lost++
	}
	n.pending = append(n.pending, e.item())
	l.publish()
	l.mu.Unlock()
	l.poke()
}

// Use says where events are stored; "" means in memory alone. It returns at
// once. A call with the same directory makes the log try again after an error.
func (l *Log) Use(directory string) {
	l.mu.Lock()
	l.next.directory = directory
	if directory == "" {
		l.next.err = ""
	}
	l.publish()
	l.mu.Unlock()
	l.poke()
}

func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run writes the events until Close. It has no beat in the health registry and
// nobody waits for it without a limit: fsync on a failing medium can hang for
// minutes, and a restart of the service would not repair the medium.
func (l *Log) Run() {
	defer close(l.done)
	for {
		select {
		case <-l.wake:
			l.drain()
		case <-l.stop:
			l.drain()
			l.closeStore()
			return
		}
	}
}

// Close writes what is pending and ends Run, which must have been started. It
// waits until ctx ends and then leaves Run behind, for the end of the process.
// The error says how many events were not written.
func (l *Log) Close(ctx context.Context) error {
	close(l.stop)
	select {
	case <-l.done:
	case <-ctx.Done():
	}
	if s := l.Stats(); s.Directory != "" && s.Pending > 0 {
		return fmt.Errorf("%d critical events were not written: %s", s.Pending, s.Error)
	}
	return nil
}

// drain writes what is pending, as far as the disk takes it.
func (l *Log) drain() {
	l.mu.Lock()
	directory := l.next.directory
	l.mu.Unlock()
	l.writing.Store(max(1, int64(time.Since(begin))))
	err := l.flush(directory)
	l.writing.Store(0)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next.err = ""
	if err != nil {
		l.next.err = err.Error()
	}
	l.publish()
}

func (l *Log) flush(directory string) error {
	if l.store != nil && (l.opened != directory || l.store.disk.stale(l.store.file)) {
		l.closeStore()
	}
	if directory == "" {
		return nil
	}
	if l.store == nil {
		if err := l.open(directory); err != nil {
			return err
		}
	}
	for {
		l.mu.Lock()
		if len(l.next.pending) == 0 {
			l.mu.Unlock()
			if l.reportWithheld() {
				continue
			}
			return nil
		}
		e := *l.next.pending[0].event // never the one that Record drops
		l.mu.Unlock()
		if err := l.write(e); err != nil {
			return err
		}
	}
}

func (l *Log) closeStore() {
	if l.store != nil {
		_ = l.store.close() // each record was synchronised
		l.store = nil
	}
}

// open reads the log in the directory and takes up where it ends.
func (l *Log) open(directory string) error {
	disk, err := openDisk(directory)
	if err != nil {
		return err
	}
	store, found, err := openStore(disk, maxSegment)
	if err == nil || len(found.records) > 0 {
		l.takeOver(found)
	}
	if found.corrupt > 0 {
		l.Record(Event{Kind: EventLog, Severity: Error,
			Message: fmt.Sprintf("%d bytes of the event log were damaged; the segment is kept as %s, its other events stay in the log", found.corrupt, corrupt)})
	}
	if err != nil {
		_ = disk.close()
		return err
	}
	if found.torn > 0 {
		l.Record(Event{Kind: EventLog, Severity: Info,
			Message: fmt.Sprintf("%d bytes of an event that was being written at a cut were removed", found.torn)})
	}
	l.store, l.opened = store, directory
	return nil
}

// takeOver makes what was found the history, and numbers what is pending
// behind it.
func (l *Log) takeOver(found found) {
	l.bucket, l.booted, l.starts, l.stopped = bucket{tokens: burst}, false, 0, false
	l.mu.Lock()
	defer l.mu.Unlock()
	n := &l.next
	n.history, l.bytes = nil, 0
	var last uint64
	for _, r := range found.records {
		if r.event.BootID == l.BootID {
			l.bucket.refill(r.event.UptimeSeconds)
			l.bucket.tokens = max(0, l.bucket.tokens-1)
			l.note(r.event)
		}
		// Not the payload: another release may have written it otherwise.
		l.remember(newItem(r.event.Seq, r.event.encode(), true))
		last = max(last, r.event.Seq)
	}
	renumbered := n.disk != found.epoch
	n.disk = found.epoch
	pending := make([]Item, 0, len(n.pending))
	for _, item := range n.pending {
		if item.Seq <= last {
			e := *item.event
			e.Seq = last + 1
			item, renumbered = e.item(), true
		}
		last = item.Seq
		pending = append(pending, item)
	}
	n.pending = pending
	n.last = max(n.last, last)
	if renumbered {
		n.run = newEpoch()
	}
	l.publish()
}

// note keeps what later events of this boot depend on.
func (l *Log) note(e Event) {
	switch e.Kind {
	case Boot:
		l.booted = true
	case ServiceStart:
		l.starts++
		l.stopped = false
	case ServiceStop:
		l.stopped = true
	}
}

// remember adds a stored event to the history. l.mu is held.
func (l *Log) remember(item Item) {
	n := &l.next
	n.history = append(n.history, item)
	l.bytes += len(item.JSON)
	for l.bytes > maxHistory {
		l.bytes -= len(n.history[0].JSON)
		n.history = n.history[1:] // what a reader has stays; the next growth frees it
	}
}

// write stores the first pending event, unless it is one too many.
func (l *Log) write(e Event) error {
	if e.Kind == Boot && l.booted {
		l.settle(nil) // recorded by a run of the service before this one
		return nil
	}
	if !l.bucket.take(e) {
		l.withheld++
		l.mu.Lock()
		l.next.suppress++
		l.mu.Unlock()
		l.settle(nil)
		return nil
	}
	if e.Kind == ServiceStart {
		// The pending event keeps its own: this write may fail.
		e.Fields = maps.Clone(e.Fields)
		e.Fields["start_of_boot"] = strconv.Itoa(l.starts + 1)
		if l.starts > 0 {
			e.Fields["run_before"] = "ended without a stop"
			if l.stopped {
				e.Fields["run_before"] = "stopped"
			}
		}
	}
	payload := e.encode()
	if err := l.store.append(payload); err != nil {
		l.bucket.tokens++
		return err
	}
	l.note(e)
	item := newItem(e.Seq, payload, true)
	l.settle(&item)
	return nil
}

// settle takes the first pending event out, into the history when it was stored.
func (l *Log) settle(stored *Item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next.pending = l.next.pending[1:]
	if len(l.next.pending) == 0 {
		l.next.pending = nil // keeps nothing of those that are gone
	}
	if stored != nil {
		l.remember(*stored)
	}
	l.publish()
}

// reportWithheld records how many events were suppressed, as soon as the rate
// allows one more.
func (l *Log) reportWithheld() bool {
	if l.withheld == 0 || !l.bucket.room(l.Uptime()) {
		return false
	}
	l.Record(Event{Kind: EventLog, Severity: Warning,
		Message: fmt.Sprintf("%d events were suppressed: more than %d at once and one in %d s", l.withheld, burst-reserve, refillSeconds)})
	l.withheld = 0
	return true
}

// bucket is the rate: tokens for events, by the time since the boot in seconds.
type bucket struct{ tokens, at float64 }

func (b *bucket) refill(uptime float64) {
	if uptime > b.at {
		b.tokens = min(burst, b.tokens+(uptime-b.at)/refillSeconds)
		b.at = uptime
	}
}

// room tells whether an event that is not critical may be written.
func (b *bucket) room(uptime float64) bool {
	b.refill(uptime)
	return b.tokens >= reserve+1
}

func (b *bucket) take(e Event) bool {
	if !b.room(e.UptimeSeconds) && (b.tokens < 1 || e.Severity != Critical && e.Kind != Boot) {
		return false
	}
	b.tokens--
	return true
}
