// Package log takes the records of logrus, keeps the newest in memory and
// writes all of them to the journal in its native protocol, so that every
// field can be searched for, or as text to stderr.
//
// Who logs never waits for the journal: a goroutine of the Log writes. What
// waits for it is bounded; a record that does not fit is dropped and counted,
// and the journal itself says how many were.
//
// The goroutine has no part in liveness: a journald that hangs is not repaired
// by a restart of this service.
package log

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"
)

// Critical is the level for a state that needs a person or ends the process:
// the journal's PRIORITY 2. Entry.Log with it does not exit, unlike
// Entry.Fatal. It waits until the record is written, criticalWait at most: the
// process may be about to end.
const Critical = logrus.FatalLevel

const (
	// The service has 48 MiB (MemoryHigh= of its unit). A ring of 1 MiB holds
	// 2000 records of usual size; what waits for a slow journal takes at most
	// 768 KiB more.
	ringRecords   = 2000
	ringBytes     = 1 << 20
	queueRecords  = 1024
	queueBytes    = 512 << 10
	urgentRecords = 256
	urgentBytes   = 256 << 10

	criticalWait = 500 * time.Millisecond
)

// Log is a logger with its memory and its goroutine.
type Log struct {
	*logrus.Logger
	out       output
	native    bool
	epoch     uint64
	wake      chan struct{}   // holds a value when there may be work
	ended     chan struct{}   // closed when the goroutine has returned
	abandoned context.Context // ends when the goroutine shall give up
	abandon   func()

	mu       sync.Mutex
	total    uint64 // the sequence of the newest record
	ring     fifo
	changed  chan struct{} // closed at the next record; nil when nobody waits
	normal   fifo          // waits for the journal: info and debug
	urgent   fifo          // and warn and worse, which a flood of the others cannot push out
	overflow bool          // a record was dropped; no more of normal until there is room again
	dropped  uint64
	untold   uint64 // of dropped, those that the journal was not told about
	closed   bool
}

// output is where records go. Only the goroutine of the Log uses it.
type output interface {
	// write fails with os.ErrDeadlineExceeded when it makes sense to try again;
	// there is no remedy for other errors.
	write(*Record) error
	close()
}

// New returns a log at level info: to the journal when systemd connected
// stderr to it (JOURNAL_STREAM), else as text to stderr. Close ends it.
func New() *Log {
	if ok, err := journal.StderrIsJournalStream(); ok && err == nil {
		l := start(&journalOutput{socket: journalSocket, fallback: os.Stderr})
		l.native = true
		return l
	}
	return NewText(os.Stderr)
}

// NewText returns a log at level info that writes text to w.
func NewText(w io.Writer) *Log { return start(newTextOutput(w)) }

func start(out output) *Log {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Log{
		Logger:    logrus.New(),
		out:       out,
		epoch:     newEpoch(),
		wake:      make(chan struct{}, 1),
		ended:     make(chan struct{}),
		abandon:   cancel,
		abandoned: ctx,
		ring:      newFIFO(ringRecords, ringBytes),
		normal:    newFIFO(queueRecords, queueBytes),
		urgent:    newFIFO(urgentRecords, urgentBytes),
	}
	l.SetOutput(io.Discard)
	l.SetFormatter(noText{})
	l.AddHook(hook{l})
	go l.run()
	return l
}

// Native says whether records go to the journal.
func (l *Log) Native() bool { return l.native }

// Close writes what waits and ends the goroutine. When ctx ends before, the
// rest is lost and the error says how much. Records that are logged later are
// kept in memory alone.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	defer l.abandon()
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		// One more is in the hands of the goroutine.
		return fmt.Errorf("write the last %d log records: %w", l.normal.count+l.urgent.count+1, ctx.Err())
	}
}

// Stats are the figures of a Log.
type Stats struct {
	Records     uint64 // logged since the start
	Dropped     uint64 // of them not written
	RingRecords int    // in memory
	RingBytes   int
}

// Stats returns the figures of now.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Records: l.total, Dropped: l.dropped, RingRecords: l.ring.count, RingBytes: l.ring.bytes}
}

// noText keeps logrus from rendering text that nobody reads.
type noText struct{}

func (noText) Format(*logrus.Entry) ([]byte, error) { return nil, nil }

type hook struct{ log *Log }

func (hook) Levels() []logrus.Level { return logrus.AllLevels }

func (h hook) Fire(e *logrus.Entry) error {
	h.log.add(newRecord(e))
	return nil
}

func (l *Log) add(r *Record) {
	if r.Level <= Critical {
		r.written = make(chan struct{})
	}
	l.mu.Lock()
	l.total++
	r.Sequence = l.total
	for !l.ring.push(r) {
		l.ring.pop()
	}
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	queue, open := &l.normal, !l.overflow
	if r.Level <= logrus.WarnLevel {
		queue, open = &l.urgent, true
	}
	queued := open && !l.closed && queue.push(r)
	if !queued {
		l.overflow = true
		l.dropped++
		l.untold++
	}
	l.mu.Unlock()
	if !queued {
		return
	}
	l.signal()
	if r.written != nil {
		timeout := time.NewTimer(criticalWait)
		defer timeout.Stop()
		select {
		case <-r.written:
		case <-timeout.C:
		}
	}
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run writes what waits until the log is closed and nothing is left.
func (l *Log) run() {
	defer close(l.ended)
	defer l.out.close()
	for l.abandoned.Err() == nil {
		r, closed := l.next()
		if r == nil {
			if closed {
				return
			}
			<-l.wake
			continue
		}
		written := l.write(r)
		if r.written != nil {
			close(r.written)
		}
		// After a record that came through, so never in a circle.
		if n := l.settle(written); n > 0 && !l.write(aboutDropped(n)) {
			l.mu.Lock()
			l.untold += n
			l.mu.Unlock()
		}
	}
}

// write tries until it is of no use.
func (l *Log) write(r *Record) bool {
	for {
		err := l.out.write(r)
		if err == nil {
			return true
		}
		if !os.IsTimeout(err) || l.abandoned.Err() != nil {
			return false
		}
	}
}

// next takes the record to write next, nil when there is none: in order, but
// the urgent ones first while others are being dropped.
func (l *Log) next() (r *Record, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.normal.roomy() && l.urgent.roomy() {
		// Only when half is free again: one record about many that were
		// dropped, not one for each.
		l.overflow = false
	}
	queue := &l.normal
	if l.urgent.count > 0 && (l.overflow || l.normal.count == 0 || l.urgent.at(0).Sequence < l.normal.at(0).Sequence) {
		queue = &l.urgent
	}
	return queue.pop(), l.closed
}

// settle counts a record that could not be written. It returns how many
// dropped ones the journal is to be told about now.
func (l *Log) settle(written bool) (tell uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !written {
		l.dropped++
		l.untold++
		return 0
	}
	if !l.overflow {
		tell, l.untold = l.untold, 0
	}
	return tell
}

func aboutDropped(n uint64) *Record {
	count := strconv.FormatUint(n, 10)
	return &Record{
		Time:    time.Now(),
		Level:   logrus.WarnLevel,
		Message: count + " log records dropped: there were more than could be written",
		Fields:  []Field{{"dropped", count}},
	}
}

// Lines returns a writer for a standard library logger: each write becomes one
// record of the level.
func Lines(l *logrus.Logger, level logrus.Level) io.Writer { return lineWriter{l, level} }

type lineWriter struct {
	log   *logrus.Logger
	level logrus.Level
}

func (w lineWriter) Write(p []byte) (int, error) {
	w.log.Log(w.level, strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
