package log

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/sirupsen/logrus"
)

// fifo holds records in order, bounded by count and by bytes.
type fifo struct {
	records []*Record // circular
	head    int
	count   int
	bytes   int
	limit   int // of bytes
}

func newFIFO(records, bytes int) fifo {
	return fifo{records: make([]*Record, records), limit: bytes}
}

// push says whether the record fitted.
func (f *fifo) push(r *Record) bool {
	if f.count == len(f.records) || f.bytes+r.bytes > f.limit {
		return false
	}
	f.records[(f.head+f.count)%len(f.records)] = r
	f.count++
	f.bytes += r.bytes
	return true
}

// pop takes the oldest record, nil when there is none.
func (f *fifo) pop() *Record {
	if f.count == 0 {
		return nil
	}
	r := f.records[f.head]
	f.records[f.head] = nil
	f.head = (f.head + 1) % len(f.records)
	f.count--
	f.bytes -= r.bytes
	return r
}

// at returns the record at place i, the oldest at 0.
func (f *fifo) at(i int) *Record { return f.records[(f.head+i)%len(f.records)] }

// roomy says whether half of it is free.
func (f *fifo) roomy() bool { return f.count <= len(f.records)/2 && f.bytes <= f.limit/2 }

// Cursor is a position between two records of one process.
type Cursor struct {
	epoch    uint64 // random, of the process
	sequence uint64 // of the record before
}

// At returns the position after a record of the same process.
func (c Cursor) At(r *Record) Cursor { return Cursor{c.epoch, r.Sequence} }

const cursorEpochDigits = 16

var errCursor = errors.New("is not a cursor of this API")

// String returns the text that ParseCursor reads. For clients it is opaque.
func (c Cursor) String() string { return fmt.Sprintf("%016x-%d", c.epoch, c.sequence) }

// ParseCursor reads the text of a cursor. Each cursor has one text.
func ParseCursor(s string) (Cursor, error) {
	if len(s) <= cursorEpochDigits || s[cursorEpochDigits] != '-' {
		return Cursor{}, errCursor
	}
	epoch, err := strconv.ParseUint(s[:cursorEpochDigits], 16, 64)
	if err != nil {
		return Cursor{}, errCursor
	}
	sequence, err := strconv.ParseUint(s[cursorEpochDigits+1:], 10, 64)
	if c := (Cursor{epoch, sequence}); err == nil && c.String() == s {
		return c, nil
	}
	return Cursor{}, errCursor
}

func newEpoch() uint64 {
	var b [8]byte
	// crypto/rand.Read never returns an error since Go 1.24.
	_, _ = rand.Read(b[:])
	return binary.NativeEndian.Uint64(b[:])
}

// Page is a piece of the ring.
type Page struct {
	Records []*Record
	Next    Cursor // for what comes after
	// Reset says that the cursor was not one of this process, and that the
	// page begins with the oldest record instead.
	Reset bool
	// Missed is how many records between the cursor and the page, of any
	// level, the ring has no more.
	Missed uint64
	// More says that the ring was not looked through to its end. There may be no
	// record in a page and more behind it.
	More bool
}

// scanBatch is how many records are looked at while the ring is locked: who logs
// waits as long.
const scanBatch = 128

// After returns the records after the cursor that are as severe as level or
// more so, limit at most, the oldest first.
func (l *Log) After(c Cursor, level logrus.Level, limit int) Page {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := Page{Next: c}
	first := l.total - uint64(l.ring.count) + 1
	switch {
	case c.epoch != l.epoch || c.sequence > l.total:
		p.Reset = true
		p.Next = Cursor{l.epoch, first - 1}
	case c.sequence+1 < first:
		p.Missed = first - 1 - c.sequence
		p.Next.sequence = first - 1
	}
	for n := 0; p.Next.sequence < l.total && len(p.Records) < limit && n < scanBatch; n++ {
		r := l.ring.at(int(p.Next.sequence + 1 - first))
		if r.Level <= level {
			p.Records = append(p.Records, r)
		}
		p.Next.sequence++
	}
	p.More = p.Next.sequence < l.total
	return p
}

// Back returns the cursor before the newest n records that are as severe as
// level or more so.
func (l *Log) Back(level logrus.Level, n int) Cursor {
	c := l.End()
	for more := true; more; {
		more = l.back(&c, level, &n)
	}
	return c
}

// back moves the cursor by a batch and says whether there is more to look at.
func (l *Log) back(c *Cursor, level logrus.Level, n *int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.total - uint64(l.ring.count) + 1
	for range scanBatch {
		if *n == 0 || c.sequence < first {
			return false
		}
		if l.ring.at(int(c.sequence-first)).Level <= level {
			*n--
		}
		c.sequence--
	}
	return true
}

// End returns the cursor after the newest record.
func (l *Log) End() Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Cursor{l.epoch, l.total}
}

// Changed returns a channel that is closed at the next record.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}
