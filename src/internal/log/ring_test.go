package log

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

// fill logs n records, every fifth a warning; their messages are their
// sequences.
func fill(l *Log, n int) {
	for range n {
		s := l.Stats().Records + 1
		level := logrus.InfoLevel
		if s%5 == 0 {
			level = logrus.WarnLevel
		}
		l.Log(level, s)
	}
}

func newest(l *Log, level logrus.Level, n int) Page { return l.After(l.Back(level, n), level, n) }

func sequences(p Page) string {
	var all []string
	for _, r := range p.Records {
		all = append(all, fmt.Sprint(r.Sequence))
	}
	return strings.Join(all, " ")
}

func TestPages(t *testing.T) {
	l := begin(t, &memory{})
	if p := newest(l, logrus.DebugLevel, 10); len(p.Records) != 0 || p.Next != l.End() || p.Next.sequence != 0 {
		t.Errorf("empty: %+v", p)
	}
	fill(l, 20)
	at := func(sequence uint64) Cursor { return Cursor{l.epoch, sequence} }
	for _, tc := range []struct {
		name string
		page Page
		want string
		next uint64
	}{
		{"newest", newest(l, logrus.DebugLevel, 3), "18 19 20", 20},
		{"newest of all", newest(l, logrus.DebugLevel, 100), "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20", 20},
		{"newest warnings", newest(l, logrus.WarnLevel, 2), "15 20", 20},
		{"no such level", newest(l, logrus.ErrorLevel, 2), "", 20},
		{"after the start", l.After(at(0), logrus.DebugLevel, 2), "1 2", 2},
		{"after", l.After(at(7), logrus.DebugLevel, 2), "8 9", 9},
		{"warnings after", l.After(at(7), logrus.WarnLevel, 2), "10 15", 15},
		{"the last warnings", l.After(at(15), logrus.WarnLevel, 2), "20", 20},
		{"none after the end", l.After(at(20), logrus.DebugLevel, 2), "", 20},
	} {
		if got := sequences(tc.page); got != tc.want || tc.page.Next != at(tc.next) || tc.page.Reset || tc.page.Missed != 0 {
			t.Errorf("%s: %s, %+v", tc.name, got, tc.page)
		}
	}
	for _, c := range []Cursor{{l.epoch + 1, 5}, at(21)} {
		if p := l.After(c, logrus.DebugLevel, 2); !p.Reset || p.Missed != 0 || sequences(p) != "1 2" || p.Next != at(2) {
			t.Errorf("foreign cursor %v: %+v", c, p)
		}
	}
}

// A look for a rare record holds up who logs for a part of the ring only, and
// finds it nevertheless.
func TestALongLookIsInPieces(t *testing.T) {
	l := begin(t, &memory{})
	l.Error("the one")
	fill(l, ringRecords-1)
	c := l.Back(logrus.ErrorLevel, 1)
	if c != (Cursor{l.epoch, 0}) {
		t.Errorf("the error is behind %v", c)
	}
	c = l.After(c, logrus.ErrorLevel, 1).Next
	looks := 0
	for more := true; more; looks++ {
		p := l.After(c, logrus.ErrorLevel, 1)
		if len(p.Records) > 0 || p.Next.sequence > c.sequence+scanBatch {
			t.Fatalf("%+v after %v", p, c)
		}
		c, more = p.Next, p.More
	}
	if looks < ringRecords/scanBatch || c != l.End() {
		t.Errorf("%d looks, at %v", looks, c)
	}
}

func TestRingIsBounded(t *testing.T) {
	l := begin(t, &memory{})
	fill(l, ringRecords+7)
	if s := l.Stats(); s.RingRecords != ringRecords || s.RingBytes > ringBytes {
		t.Errorf("%+v", s)
	}
	p := l.After(Cursor{l.epoch, 2}, logrus.DebugLevel, 1)
	if p.Missed != 5 || sequences(p) != "8" {
		t.Errorf("%+v", p)
	}
	for range 200 {
		l.Info(strings.Repeat("x", 10<<10))
	}
	s := l.Stats()
	if s.RingBytes > ringBytes || s.RingBytes < ringBytes-maxRecordBytes || s.RingRecords > 110 {
		t.Errorf("%+v", s)
	}
	bytes := 0
	for i := range l.ring.count {
		bytes += l.ring.at(i).bytes
	}
	if bytes != s.RingBytes {
		t.Errorf("%d bytes are counted, %d are there", s.RingBytes, bytes)
	}
}

func TestChanged(t *testing.T) {
	l := begin(t, &memory{})
	one, two := l.Changed(), l.Changed()
	l.Info("x")
	<-one
	<-two
	select {
	case <-l.Changed():
		t.Error("nothing has changed since")
	default:
	}
}

func FuzzParseCursor(f *testing.F) {
	for _, s := range []string{"", "0123456789abcdef-0", "0123456789abcdef-18446744073709551615", "0123456789ABCDEF-1",
		"0123456789abcdef-01", "0123456789abcdef-", "0123456789abcdef--1", "+123456789abcdef-1", "0123456789abcdef-18446744073709551616"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err == nil && c.String() != s {
			t.Errorf("%q is read as %q", s, c)
		}
		if again, e := ParseCursor(c.String()); e != nil || again != c {
			t.Errorf("%q: %v, %v", c, again, e)
		}
	})
}
