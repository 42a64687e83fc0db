package log

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

func begin(t *testing.T, out output) *Log {
	t.Helper()
	servicetest.NoLeaks(t)
	l := start(out)
	t.Cleanup(func() { finish(t, l) })
	return l
}

func finish(t *testing.T, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

// memory is an output that blocks until it is given a turn, or never when
// turns is nil.
type memory struct {
	turns chan struct{}
	err   error

	mu      sync.Mutex
	records []*Record
}

func (m *memory) write(r *Record) error {
	if m.turns != nil {
		<-m.turns
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.records = append(m.records, r)
	}
	return m.err
}

func (m *memory) close() {}

func (m *memory) messages() (all []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.records {
		all = append(all, r.Message)
	}
	return all
}

// receiver is a journal that can stop reading.
func receiver(t testing.TB) (*net.UnixConn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, path
}

// receive reads one datagram back into its fields.
func receive(t *testing.T, conn *net.UnixConn) map[string]string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for b := buf[:n]; len(b) > 0; {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		name, value, found := strings.Cut(string(line), "=")
		if !found {
			size := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+size]), rest[8+size+1:]
		}
		fields[name], b = value, rest
	}
	return fields
}

func TestJournalRecord(t *testing.T) {
	conn, path := receiver(t)
	l := begin(t, &journalOutput{socket: path})
	l.WithFields(logrus.Fields{"request_id": "r", "trace_id": "t", "route": "/livez", "duration_us": int64(1500), "generation": 3, "odd key!": "x"}).
		WithError(errors.New("why\nindeed")).Log(Critical, "hello\n")
	want := map[string]string{
		"REQUEST_ID": "r", "TRACE_ID": "t", "ROUTE": "/livez", "GIN_EDGE_DURATION_US": "1500", "GIN_EDGE_GENERATION": "3",
		"GIN_EDGE_ODD_KEY_": "x", "GIN_EDGE_ERROR": "why\nindeed",
		"SYSLOG_IDENTIFIER": "gin-edged", "PRIORITY": "2", "MESSAGE": "hello\n",
	}
	if got := receive(t, conn); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	// What was held up says when it was made.
	l.WithTime(time.Unix(1, 0)).Warn("late")
	if got := receive(t, conn)["GIN_EDGE_TIME"]; got != "1970-01-01T00:00:01Z" {
		t.Errorf("GIN_EDGE_TIME=%q", got)
	}
}

func TestPriorities(t *testing.T) {
	want := map[logrus.Level]journal.Priority{
		logrus.PanicLevel: 2, logrus.FatalLevel: 2, logrus.ErrorLevel: 3, logrus.WarnLevel: 4,
		logrus.InfoLevel: 6, logrus.DebugLevel: 7, logrus.TraceLevel: 7,
	}
	for level, p := range want {
		if got := priority(level); got != p {
			t.Errorf("%v: %d, want %d", level, got, p)
		}
		name := LevelName(level)
		if parsed, err := ParseLevel(name); err != nil || priority(parsed) != p {
			t.Errorf("level %s: %v, %v", name, parsed, err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil || err.Error() != `"loud" is not one of critical, error, warn, info, debug` {
		t.Error(err)
	}
}

func TestJournalFallsBackToStderr(t *testing.T) {
	var out servicetest.Buffer
	l := begin(t, &journalOutput{socket: filepath.Join(t.TempDir(), "none"), fallback: &out})
	l.Log(Critical, "kept")
	if got := out.String(); got != "<2>kept\n" {
		t.Errorf("got %q", got)
	}
	l.WithField("a\n<0>b", "c\r\n<0>d").WithField("e", "f").Log(Critical, "one\n<0>two")
	if got := out.String(); got != "<2>kept\n<2>\"one\\n<0>two\" \"a\\n<0>b\"=\"c\\r\\n<0>d\" e=f\n" {
		t.Errorf("got %q", got)
	}
}

func TestJournalSocketIsReplaced(t *testing.T) {
	conn, path := receiver(t)
	l := begin(t, &journalOutput{socket: path, fallback: io.Discard})
	l.Info("one")
	receive(t, conn)
	conn.Close()
	os.Remove(path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l.Info("two")
	if got := receive(t, conn)["MESSAGE"]; got != "two" {
		t.Errorf("got %q", got)
	}
}

// A journald that hangs delays nobody, and when it goes on it gets the rest
// and the truth about what is missing.
func TestJournalThatHangs(t *testing.T) {
	conn, path := receiver(t)
	l := begin(t, &journalOutput{socket: path, fallback: io.Discard})
	const flood = 5000
	begin := time.Now()
	for i := range flood {
		l.Info(strconv.Itoa(i))
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("%d records took %v", flood, d)
	}
	// The goroutine may not have come to run yet: wait until the socket is full.
	waiting := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.normal.count
	}
	for before := -1; before != waiting(); time.Sleep(100 * time.Millisecond) {
		before = waiting()
	}
	begin = time.Now()
	l.Log(Critical, "the end is near")
	if d := time.Since(begin); d < criticalWait || d > criticalWait+5*time.Second {
		t.Errorf("a critical record waited %v", d)
	}
	stats := l.Stats()
	if stats.Dropped == 0 || stats.Records != flood+1 {
		t.Errorf("%+v", stats)
	}
	var got, critical, told uint64
	for got+told < stats.Records {
		fields := receive(t, conn)
		if n, ok := fields["GIN_EDGE_DROPPED"]; ok {
			more, _ := strconv.ParseUint(n, 10, 64)
			told += more
			continue
		}
		got++
		if fields["PRIORITY"] == "2" {
			critical++
		}
	}
	if got+told != stats.Records || told != stats.Dropped || critical != 1 {
		t.Errorf("%d received, %d told to be dropped, %d critical, %+v", got, told, critical, stats)
	}
}

func TestUrgentRecordsSurviveAFlood(t *testing.T) {
	out := &memory{turns: make(chan struct{})}
	l := begin(t, out)
	l.SetLevel(logrus.DebugLevel)
	for i := range 3 * queueRecords {
		l.Debug("flood")
		if i%100 == 0 {
			l.Warn("warning")
		}
	}
	stats := l.Stats()
	close(out.turns)
	finish(t, l)
	warnings, told := 0, uint64(0)
	for _, r := range out.records {
		switch {
		case r.Message == "warning":
			warnings++
		case strings.HasSuffix(r.Message, "dropped: there were more than could be written"):
			n, _ := strconv.ParseUint(r.Fields[0].Value, 10, 64)
			told += n
		}
	}
	if warnings != 31 || stats.Dropped == 0 || told != stats.Dropped {
		t.Errorf("%d warnings, %d told to be dropped of %d", warnings, told, stats.Dropped)
	}
}

func TestOrderIsKeptWithoutAFlood(t *testing.T) {
	out := &memory{turns: make(chan struct{})}
	l := begin(t, out)
	for i := range 20 {
		l.Log([]logrus.Level{logrus.InfoLevel, logrus.WarnLevel, logrus.ErrorLevel}[i%3], strconv.Itoa(i))
	}
	close(out.turns)
	finish(t, l)
	for i, m := range out.messages() {
		if m != strconv.Itoa(i) {
			t.Fatalf("%v", out.messages())
		}
	}
}

func TestCloseThatCannotWrite(t *testing.T) {
	_, path := receiver(t)
	l := begin(t, &journalOutput{socket: path, fallback: io.Discard})
	for range 2 * queueRecords {
		l.Info("x")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Close(ctx); err == nil || !strings.Contains(err.Error(), "log records: context canceled") {
		t.Errorf("Close = %v", err)
	}
	<-l.ended // it gives up although nobody reads
	l.Log(Critical, "after the end")
	if p := newest(l, Critical, 1); len(p.Records) != 1 || p.Records[0].Message != "after the end" {
		t.Errorf("%+v", p)
	}
}

func TestRecordsThatCannotBeWrittenAreCounted(t *testing.T) {
	out := &memory{err: errors.New("full")}
	l := begin(t, out)
	l.Log(Critical, "lost")
	l.Log(Critical, "lost")
	if n := l.Stats().Dropped; n != 2 {
		t.Errorf("%d counted", n)
	}
	out.mu.Lock()
	out.err = nil
	out.mu.Unlock()
	l.Log(Critical, "kept")
	finish(t, l)
	if got := fmt.Sprint(out.messages()); got != "[kept 2 log records dropped: there were more than could be written]" {
		t.Errorf("written: %s", got)
	}
}

func TestLargeRecords(t *testing.T) {
	l := begin(t, &memory{})
	huge := strings.Repeat("ü", 1<<20)
	many := logrus.Fields{strings.Repeat("k", 1000): "v"}
	for i := range 10000 {
		many[strconv.Itoa(i)] = "v"
	}
	for _, fields := range []logrus.Fields{{}, {"stack": huge, "request_id": "r", "trace_id": "t"}, many} {
		l.WithFields(fields).Error(huge)
		r := newest(l, Critical+1, 1).Records[0]
		last := r.Fields[len(r.Fields)-1]
		if r.bytes > maxRecordBytes || last.Key != "truncated_bytes" || strings.Contains(r.Message, "�") {
			t.Errorf("%d bytes, %v", r.bytes, last)
		}
		kept := len(r.Message)
		whole := len(huge)
		for k, v := range fields {
			whole += len(k) + len(v.(string))
		}
		for _, f := range r.Fields[:len(r.Fields)-1] {
			kept += len(f.Key) + len(f.Value)
		}
		if missing, _ := strconv.Atoi(last.Value); missing != whole-kept {
			t.Errorf("truncated_bytes is %d, missing are %d", missing, whole-kept)
		}
		if fields["request_id"] != nil && (r.Fields[0].Value != "r" || r.Fields[2].Value != "t") {
			t.Errorf("the short fields are not whole: %v", r.Fields)
		}
	}
}

func TestText(t *testing.T) {
	var out servicetest.Buffer
	servicetest.NoLeaks(t)
	l := NewText(&out)
	if _, err := Lines(l.Logger, logrus.DebugLevel).Write([]byte("hidden\n")); err != nil {
		t.Error(err)
	}
	if _, err := Lines(l.Logger, logrus.WarnLevel).Write([]byte("shown\n")); err != nil {
		t.Error(err)
	}
	l.WithField("status", 200).Info("x y")
	finish(t, l)
	got := out.String()
	if strings.Contains(got, "hidden") || !strings.Contains(got, "level=warning msg=shown\n") || !strings.Contains(got, `level=info msg="x y" status=200`) || l.Native() {
		t.Errorf("got %q", got)
	}
}

// BenchmarkLog compares what a caller waits for: queued is a record into ring
// and queue, journal the same with the datagram sent before the call returns.
func BenchmarkLog(b *testing.B) {
	fields := logrus.Fields{
		"request_id": "0123456789abcdef0123456789abcdef", "trace_id": "0123456789abcdef0123456789abcdef",
		"route": "/api/v1/device", "method": "GET", "status": 200, "bytes": 300, "duration_us": int64(120), "client": "192.0.2.1:12345",
	}
	serve := func(b *testing.B) string {
		conn, path := receiver(b)
		go func() { // ends with the close of the connection
			buf := make([]byte, 64<<10)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
			}
		}()
		return path
	}
	b.Run("queued", func(b *testing.B) {
		l := start(&journalOutput{socket: serve(b), fallback: io.Discard})
		defer l.Close(context.Background())
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			l.WithFields(fields).Info("request answered")
			if n%(queueRecords/2) == 0 {
				b.StopTimer()
				l.Log(Critical, "wait until all is written")
				b.StartTimer()
			}
		}
		b.ReportMetric(float64(l.Stats().Dropped), "dropped")
	})
	b.Run("synchronous", func(b *testing.B) {
		l := logrus.New()
		l.SetOutput(io.Discard)
		l.SetFormatter(noText{})
		l.AddHook(synchronous{&journalOutput{socket: serve(b), fallback: io.Discard}})
		b.ReportAllocs()
		for b.Loop() {
			l.WithFields(fields).Info("request answered")
		}
	})
}

type synchronous struct{ out output }

func (synchronous) Levels() []logrus.Level       { return logrus.AllLevels }
func (s synchronous) Fire(e *logrus.Entry) error { return s.out.write(newRecord(e)) }
