package events

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"
)

// view is the log at one moment. It never changes: who reads the log takes the
// newest view and holds no lock, however long that takes.
type view struct {
	history   []Item // on the disk; oldest first
	pending   []Item // in memory alone; they follow
	disk      epoch  // of the numbers in history; 0 when not known
	run       epoch  // of all numbers; ends with the process
	last      uint64 // Seq of the newest event
	directory string
	err       string
	lost      uint64
	suppress  uint64
}

// Item is an event as the API shows it.
type Item struct {
	// Seq is the event's number. That of one which is not stored changes when the
	// disk already holds an event of that number.
	Seq    uint64
	Stored bool // on the disk
	// JSON is the Event with its fields, also when it has none, and stored. It is
	// shared and must not be changed.
	JSON []byte

	event *Event // nil when stored
}

// newItem makes an item of a payload of encode.
func newItem(seq uint64, payload []byte, stored bool) Item {
	b := make([]byte, 0, len(payload)+len(`,"fields":{},"stored":false`))
	b = append(b, bytes.TrimSuffix(payload, []byte("}"))...)
	if !bytes.HasSuffix(payload, []byte("}}")) { // encode leaves out empty fields; they come last
		b = append(b, `,"fields":{}`...)
	}
	b = append(b, `,"stored":`...)
	b = strconv.AppendBool(b, stored)
	return Item{Seq: seq, Stored: stored, JSON: append(b, '}')}
}

// epoch names a line of numbers: that of a log on a disk, which outlives the
// process, or that of a run of the service. 0 is none.
type epoch uint64

func newEpoch() epoch {
	var b [8]byte
	// crypto/rand.Read never returns an error since Go 1.24.
	_, _ = rand.Read(b[:])
	return max(1, epoch(binary.NativeEndian.Uint64(b[:])))
}

const epochDigits = 16

func (e epoch) String() string { return fmt.Sprintf("%0*x", epochDigits, uint64(e)) }

func parseEpoch(s string) (epoch, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if e := epoch(n); err == nil && e != 0 && e.String() == s {
		return e, nil
	}
	return 0, errors.New("not an epoch: 16 lower case hex digits")
}

// Cursor is a place between two events of one log. The zero Cursor is before
// the first event of any.
type Cursor struct {
	epoch epoch
	seq   uint64 // of the event before
}

// ErrCursor says that a text is no cursor.
var ErrCursor = errors.New("is not a cursor of this API")

// String returns the text that ParseCursor reads. For clients it is opaque.
func (c Cursor) String() string {
	if c == (Cursor{}) {
		return "0"
	}
	return fmt.Sprintf("%v-%d", c.epoch, c.seq)
}

// ParseCursor reads the text of a cursor; each has one text. A bare number other
// than 0 is a cursor of a release that knew no epochs: one of a log that is not
// this one.
func ParseCursor(s string) (Cursor, error) {
	var c Cursor
	var err error
	number := s
	if len(s) > epochDigits && s[epochDigits] == '-' {
		if c.epoch, err = parseEpoch(s[:epochDigits]); err != nil {
			return Cursor{}, ErrCursor
		}
		number = s[epochDigits+1:]
	}
	// 63 bits: what every JSON number of a client, and int64, can hold.
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != number {
		return Cursor{}, ErrCursor
	}
	c.seq = n
	return c, nil
}

// Page is a piece of the log.
type Page struct {
	stored, pending []Item
	Next            Cursor // for what comes after
	// Reset says that events between the cursor and this page may be missing: the
	// cursor is not one of this log, or older than the oldest event that is left.
	// The page begins with that one.
	Reset bool
}

// Len is the number of events.
func (p Page) Len() int { return len(p.stored) + len(p.pending) }

// All returns the events, oldest first.
func (p Page) All() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		for _, list := range [][]Item{p.stored, p.pending} {
			for _, item := range list {
				if !yield(item) {
					return
				}
			}
		}
	}
}

// Newest returns the newest events, at most limit. It waits for nobody.
func (l *Log) Newest(limit int) Page {
	v := l.view.Load()
	n := len(v.pending)
	stored := v.history[max(0, len(v.history)-max(0, limit-n)):]
	return v.page(stored, v.pending[max(0, n-limit):], Cursor{v.run, 0})
}

// After returns the events that follow the cursor, at most limit, the oldest of
// them first. It waits for nobody.
func (l *Log) After(c Cursor, limit int) Page {
	v := l.view.Load()
	reset := c.seq > v.last || c.epoch != v.run && c.epoch != v.disk || c.epoch == 0 && c.seq > 0
	if c == (Cursor{}) {
		reset = false
	}
	if reset || c.epoch == 0 {
		c = Cursor{v.run, 0}
	}
	from := behind(v.history, c.seq)
	// Numbers have gaps, so this may be said of a cursor that missed nothing.
	if c.seq > 0 && from == 0 && len(v.history) > 0 && c.seq+1 < v.history[0].Seq {
		reset = true
	}
	stored := v.history[from:]
	stored = stored[:min(limit, len(stored))]
	pending := v.pending[behind(v.pending, c.seq):]
	pending = pending[:min(limit-len(stored), len(pending))]
	p := v.page(stored, pending, c)
	p.Reset = reset
	return p
}

// behind is the index of the first item that follows the number.
func behind(items []Item, seq uint64) int {
	i, found := slices.BinarySearchFunc(items, seq, func(item Item, seq uint64) int {
		switch {
		case item.Seq < seq:
			return -1
		case item.Seq > seq:
			return 1
		}
		return 0
	})
	if found {
		i++
	}
	return i
}

// page finds the cursor behind the items: of the disk as soon as all up to it
// are there, so that it holds in the next run, too. Before, it holds in this run
// alone: after a cut the disk gives the number to another event.
func (v *view) page(stored, pending []Item, c Cursor) Page {
	p := Page{stored: stored, pending: pending}
	switch {
	case len(pending) > 0:
		c.seq = pending[len(pending)-1].Seq
	case len(stored) > 0:
		c.seq = stored[len(stored)-1].Seq
	}
	if c.seq == 0 {
		return p // before the first event
	}
	c.epoch = v.run
	if v.disk != 0 && len(v.history) > 0 && c.seq <= v.history[len(v.history)-1].Seq {
		c.epoch = v.disk
	}
	p.Next = c
	return p
}

// Stats is the state of the log.
type Stats struct {
	Directory  string // where events are stored; "" when only in memory
	Error      string // why the last attempt to store failed, else ""
	Pending    int    // events in memory alone
	Lost       uint64 // events that found no room in memory
	Suppressed uint64 // events over the rate
}

// Stats returns the figures of now. It waits for nobody.
func (l *Log) Stats() Stats {
	v := l.view.Load()
	s := Stats{Directory: v.directory, Error: v.err, Pending: len(v.pending), Lost: v.lost, Suppressed: v.suppress}
	if stuck := l.Stuck(); stuck > 0 {
		s.Error = fmt.Sprintf("no answer from the disk for %.0f s", stuck.Seconds())
	}
	return s
}

// begin is the zero of Log.writing. time.Since reads the monotonic clock.
var begin = time.Now()

// Stuck returns for how long the disk has not ended a write, or 0 when it is
// not unusually long. It waits for nobody.
func (l *Log) Stuck() time.Duration {
	since := l.writing.Load()
	if since == 0 {
		return 0
	}
	if took := time.Since(begin) - time.Duration(since); took > stuckAfter {
		return took
	}
	return 0
}
