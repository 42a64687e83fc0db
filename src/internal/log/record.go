package log

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sirupsen/logrus"
)

const (
	// maxRecordBytes bounds one record: far above a stack, and so small that a
	// datagram to the journal always holds it (net.core.wmem_default, 208 KiB).
	maxRecordBytes = 16 << 10
	maxFields      = 32
	maxKeyBytes    = 48 // with the prefix of fieldName within the journal's 64

	// What a record takes beside its text: itself and its places in ring and
	// queue, and for each field two string headers.
	recordOverhead = 128
	fieldOverhead  = 32
)

// Record is one log record. It does not change after it was made.
type Record struct {
	Sequence uint64 // 1 for the first record of the process, one more each
	Time     time.Time
	Level    logrus.Level
	Message  string
	Fields   []Field // sorted by key

	bytes   int
	written chan struct{} // closed when it was written; nil unless Critical
}

// Field is one named value of a record. A record that was too large has a
// field truncated_bytes: how much is missing.
type Field struct{ Key, Value string }

func newRecord(e *logrus.Entry) *Record {
	r := &Record{Time: e.Time, Level: e.Level, Message: e.Message, Fields: make([]Field, 0, len(e.Data)+1)}
	for k, v := range e.Data {
		r.Fields = append(r.Fields, Field{k, text(v)})
	}
	slices.SortFunc(r.Fields, func(a, b Field) int { return strings.Compare(a.Key, b.Key) })
	if r.measure(); r.bytes > maxRecordBytes || len(r.Fields) > maxFields {
		r.truncate()
	}
	return r
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return fmt.Sprint(v)
}

func (r *Record) measure() {
	r.bytes = recordOverhead + len(r.Message)
	for _, f := range r.Fields {
		r.bytes += fieldOverhead + len(f.Key) + len(f.Value)
	}
}

// truncate cuts the longest texts first, so that the short ones, which
// identify the record, stay whole.
func (r *Record) truncate() {
	missing := 0
	for _, f := range r.Fields[min(len(r.Fields), maxFields):] {
		missing += len(f.Key) + len(f.Value)
	}
	r.Fields = r.Fields[:min(len(r.Fields), maxFields)]
	for i := range r.Fields {
		missing += cut(&r.Fields[i].Key, maxKeyBytes)
	}
	for limit := maxRecordBytes; ; limit /= 2 {
		missing += cut(&r.Message, limit)
		for i := range r.Fields {
			missing += cut(&r.Fields[i].Value, limit)
		}
		if r.measure(); r.bytes <= maxRecordBytes-fieldOverhead-maxKeyBytes {
			break
		}
	}
	// Not in its place by the alphabet: what is said about the record comes last.
	r.Fields = append(slices.Clip(r.Fields), Field{"truncated_bytes", strconv.Itoa(missing)})
	r.measure()
}

// cut shortens s to limit bytes, between two runes, and returns how much was
// cut off. The rest is copied: a part of the long text would keep all of it.
func cut(s *string, limit int) int {
	before := len(*s)
	if before <= limit {
		return 0
	}
	for limit > 0 && !utf8.RuneStart((*s)[limit]) {
		limit--
	}
	*s = strings.Clone((*s)[:limit])
	return before - limit
}

// levels are the names of the levels in the API, in order of severity.
var levels = []struct {
	level logrus.Level
	name  string
}{
	{Critical, "critical"},
	{logrus.ErrorLevel, "error"},
	{logrus.WarnLevel, "warn"},
	{logrus.InfoLevel, "info"},
	{logrus.DebugLevel, "debug"},
}

// LevelName is the name of a level in the API.
func LevelName(level logrus.Level) string {
	for _, l := range levels {
		if level <= l.level {
			return l.name
		}
	}
	return "debug"
}

// ParseLevel is the level of a name.
func ParseLevel(name string) (logrus.Level, error) {
	var names []string
	for _, l := range levels {
		if l.name == name {
			return l.level, nil
		}
		names = append(names, l.name)
	}
	return 0, fmt.Errorf("%q is not one of %s", name, strings.Join(names, ", "))
}
