package events

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// run is a running log with an uptime that the test moves.
type run struct {
	*Log
	t      *testing.T
	uptime atomic.Int64
}

func start(t *testing.T, bootID, directory string) *run {
	t.Helper()
	r := &run{t: t}
	r.Log = New(Options{BootID: bootID, Uptime: func() float64 { return float64(r.uptime.Load()) }})
	go r.Run()
	r.Use(directory)
	return r
}

// end closes the log and returns what Close says.
func (r *run) end() error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := r.Close(ctx)
	if ctx.Err() != nil {
		r.t.Fatal("Close did not end")
	}
	return err
}

func (r *run) wait(what string, done func(Stats) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(r.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited for %s in vain: %+v", what, r.Stats())
		}
	}
}

func (r *run) stored() {
	r.t.Helper()
	r.wait("the events to be stored", func(s Stats) bool { return s.Pending == 0 })
}

func (r *run) record(kind Kind, message string) {
	r.Record(Event{Kind: kind, Severity: Info, Message: message})
}

// shown is an event as a client reads it.
type shown struct {
	Event
	Stored bool
}

func show(t testing.TB, p Page) []shown {
	t.Helper()
	list := []shown{}
	for item := range p.All() {
		var s shown
		if err := json.Unmarshal(item.JSON, &s); err != nil || s.Fields == nil || s.Seq != item.Seq || s.Stored != item.Stored {
			t.Fatalf("item %d is shown as %s: %v", item.Seq, item.JSON, err)
		}
		list = append(list, s)
	}
	if len(list) != p.Len() {
		t.Fatalf("%d events, Len is %d", len(list), p.Len())
	}
	return list
}

// newest are the newest events, as a client reads them.
func (r *run) newest(limit int) []shown {
	r.t.Helper()
	return show(r.t, r.Newest(limit))
}

func messages(items []shown) []string {
	list := []string{}
	for _, item := range items {
		list = append(list, item.Message)
	}
	return list
}

func TestEventsOutliveTheRun(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "gin-edge", "events")
	first := start(t, "boot-1", directory)
	first.uptime.Store(5)
	first.record(Boot, "boot 1")
	first.record(ServiceStart, "start 1")
	if err := first.end(); err != nil { // Close writes what is pending
		t.Fatal(err)
	}
	second := start(t, "boot-1", directory)
	second.record(Boot, "boot 1 again")
	second.record(ServiceStart, "start 2")
	second.record(ServiceStop, "stop 2")
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	third := start(t, "boot-1", directory)
	third.record(ServiceStart, "start 3")
	if err := third.end(); err != nil {
		t.Fatal(err)
	}
	last := start(t, "boot-2", directory)
	last.record(Boot, "boot 2")
	last.record(ServiceStart, "start of boot 2")
	last.stored()
	items := last.newest(100)
	if got := messages(items); !slices.Equal(got, []string{"boot 1", "start 1", "start 2", "stop 2", "start 3", "boot 2", "start of boot 2"}) {
		t.Fatalf("events %q", got)
	}
	for i, want := range map[int]string{1: "map[start_of_boot:1]", 2: "map[run_before:ended without a stop start_of_boot:2]",
		4: "map[run_before:stopped start_of_boot:3]", 6: "map[start_of_boot:1]"} {
		if got := fmt.Sprint(items[i].Fields); got != want {
			t.Errorf("event %d: fields %s, want %s", i, got, want)
		}
	}
	for i, item := range items {
		if !item.Stored || i > 0 && item.Seq <= items[i-1].Seq || item.Time.IsZero() {
			t.Errorf("event %+v", item)
		}
	}
	if items[0].BootID != "boot-1" || items[0].UptimeSeconds != 5 {
		t.Errorf("event %+v", items[0])
	}
	if err := last.end(); err != nil {
		t.Error(err)
	}
}

func TestReading(t *testing.T) {
	r := start(t, "b", "")
	for i := range 5 {
		r.record(Watchdog, fmt.Sprint(i+1))
	}
	at := func(seq uint64) Cursor { return Cursor{r.view.Load().run, seq} }
	for _, tc := range []struct {
		page  Page
		want  []string
		next  uint64
		reset bool
	}{
		{r.Newest(2), []string{"4", "5"}, 5, false},
		{r.Newest(9), []string{"1", "2", "3", "4", "5"}, 5, false},
		{r.After(Cursor{}, 2), []string{"1", "2"}, 2, false},
		{r.After(at(3), 9), []string{"4", "5"}, 5, false},
		{r.After(at(5), 9), []string{}, 5, false},
		{r.After(at(77), 1), []string{"1"}, 1, true}, // of a log that is gone
		{r.After(Cursor{1, 2}, 1), []string{"1"}, 1, true},
		{r.After(Cursor{0, 2}, 1), []string{"1"}, 1, true},
	} {
		if got := messages(show(t, tc.page)); !slices.Equal(got, tc.want) || tc.page.Next != at(tc.next) || tc.page.Reset != tc.reset {
			t.Errorf("%q, %v, reset %v, want %+v", got, tc.page.Next, tc.page.Reset, tc)
		}
	}
	if s := r.Stats(); s.Pending != 5 || s.Lost != 0 || r.newest(1)[0].Stored {
		t.Errorf("stats %+v", s)
	}
	if err := r.end(); err != nil {
		t.Errorf("nothing was to be stored: %v", err)
	}
}

func TestEventsWaitForThePartition(t *testing.T) {
	partition := filepath.Join(t.TempDir(), "data")
	directory := filepath.Join(partition, "gin-edge", "events")
	if err := os.Mkdir(partition, 0o700); err != nil {
		t.Fatal(err)
	}
	before := start(t, "boot", directory)
	before.record(Watchdog, "of an earlier run")
	if err := before.end(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(partition, partition+"-away"); err != nil {
		t.Fatal(err)
	}

	r := start(t, "boot", directory)
	r.record(Boot, "first")
	r.wait("the error", func(s Stats) bool { return strings.Contains(s.Error, "no such file") })
	for i := range maxPending + 2 {
		r.record(Watchdog, fmt.Sprint(i))
	}
	if s := r.Stats(); s.Pending != maxPending || s.Lost != 3 {
		t.Errorf("%+v", s)
	}
	items := r.newest(maxPending)
	if items[0].Message != "first" || items[len(items)-1].Message != fmt.Sprint(maxPending+1) || items[len(items)-1].Stored {
		t.Errorf("kept: %q", messages(items))
	}
	if err := os.Rename(partition+"-away", partition); err != nil {
		t.Fatal(err)
	}
	r.Use(directory) // as at each look at the partition
	r.stored()
	items = r.newest(1000)
	if items[0].Message != "of an earlier run" || items[1].Message != "first" || items[1].Seq != items[0].Seq+1 || !items[1].Stored {
		t.Errorf("stored: %q", messages(items))
	}
	if s := r.Stats(); s.Error != "" || s.Suppressed != maxPending-(burst-reserve-1) {
		t.Errorf("%+v", s)
	}
	// The directory is replaced while it is in use: nothing may go to the old one.
	if err := os.Rename(partition, partition+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(partition, 0o700); err != nil {
		t.Fatal(err)
	}
	r.record(Watchdog, "on the new one")
	r.stored()
	if got := messages(r.newest(1000)); got[0] != "on the new one" {
		t.Errorf("in the new directory: %q", got)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

func TestCloseTellsWhatWasNotWritten(t *testing.T) {
	r := start(t, "b", filepath.Join(t.TempDir(), "missing", "gin-edge", "events"))
	r.record(Boot, "x")
	if err := r.end(); err == nil || !strings.Contains(err.Error(), "1 critical events were not written") {
		t.Errorf("Close: %v", err)
	}
}

// A service that fails and restarts for ever writes no faster than one that
// runs, and a critical event still finds room.
func TestRateHoldsOverRestarts(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "gin-edge", "events")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	var data []byte // of many runs before
	for i := range burst - reserve {
		e := event(i + 1)
		e.BootID = "boot"
		data = appendFrame(data, e.encode())
	}
	if err := os.WriteFile(filepath.Join(directory, current), data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "boot", directory)
	r.Record(Event{Kind: Watchdog, Severity: Critical, Message: "critical"})
	r.record(StartRefused, "one too many")
	r.stored()
	if s := r.Stats(); s.Suppressed != 1 {
		t.Errorf("%+v", s)
	}
	// One token for the critical event and two more: an event and the report.
	r.uptime.Add(3 * refillSeconds)
	r.record(StartRefused, "later")
	r.stored()
	items := r.newest(1000)
	if got := messages(items[len(items)-3:]); got[0] != "critical" || got[1] != "later" || !strings.HasPrefix(got[2], "1 events were suppressed") {
		t.Errorf("events: %q", got)
	}
	if want := burst - reserve + 3; len(items) != want {
		t.Errorf("%d events, want %d", len(items), want)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
	next := start(t, "next boot", directory)
	next.record(ServiceStart, "after the boot")
	next.stored()
	if got := next.newest(1); got[0].Message != "after the boot" {
		t.Errorf("after a boot: %q", messages(got))
	}
	if err := next.end(); err != nil {
		t.Error(err)
	}
}

func TestLogSaysWhatItRepaired(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "gin-edge", "events")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	data, ends := segment(3)
	data[ends[0]+headerBytes] ^= 1
	if err := os.WriteFile(filepath.Join(directory, previous), data, 0o600); err != nil {
		t.Fatal(err)
	}
	data, ends = segment(2)
	if err := os.WriteFile(filepath.Join(directory, current), data[:ends[1]-4], 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "b", directory)
	r.wait("the repair", func(s Stats) bool { return len(r.newest(9)) == 5 && s.Pending == 0 })
	all := strings.Join(messages(r.newest(9)), "\n")
	if !strings.Contains(all, fmt.Sprintf("%d bytes of the event log were damaged", ends[1]-ends[0])) ||
		!strings.Contains(all, fmt.Sprintf("%d bytes of an event that was being written", ends[1]-ends[0]-4)) {
		t.Errorf("events:\n%s", all)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

func TestConcurrentUse(t *testing.T) {
	r := start(t, "b", filepath.Join(t.TempDir(), "gin-edge", "events"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 20 {
				r.uptime.Add(1)
				r.record(ServiceStart, fmt.Sprint(i))
				for j, item := range r.newest(10) {
					if j == 0 && item.Message == "" {
						t.Error("an event without its message")
					}
				}
				r.Stats()
			}
		})
	}
	wg.Wait()
	r.stored()
	items := r.newest(1000)
	if s := r.Stats(); len(items)+int(s.Suppressed) < 80 {
		t.Errorf("%d events, %+v", len(items), s)
	}
	for i := 1; i < len(items); i++ {
		if items[i].Seq <= items[i-1].Seq {
			t.Fatalf("number %d after %d", items[i].Seq, items[i-1].Seq)
		}
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	l := New(Options{})
	for i := range 1000 {
		l.remember(Item{Seq: uint64(i + 1), JSON: make([]byte, 1000)})
	}
	if history := l.next.history; len(history) != maxHistory/1000 || history[len(history)-1].Seq != 1000 || cap(history) > 2*len(history) {
		t.Errorf("%d events of %d", len(history), cap(history))
	}
}

// full returns a log with the 2,000 or so events of usual text that two segments
// hold, which no one writes.
func full(t testing.TB) *Log {
	l := New(Options{BootID: "0f0e0d0c-0b0a-0908-0706-050403020100", Uptime: func() float64 { return 1 }})
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range 2000 {
		e := Event{Seq: uint64(i + 1), BootID: l.BootID, Time: time.Unix(1e9, 0).UTC(), Kind: ServiceStart, Severity: Info,
			Message: "the service has started", Fields: map[string]string{"version": "0.1.0", "start_of_boot": fmt.Sprint(i)}}
		l.next.last = e.Seq
		l.remember(newItem(e.Seq, e.encode(), true))
	}
	if len(l.next.history) != 2000 {
		t.Fatalf("%d events fit", len(l.next.history))
	}
	l.publish()
	return l
}

// Whoever reads, and however slowly, holds up neither the main loop's questions
// nor who records.
func TestReadersHoldUpNobody(t *testing.T) {
	l := full(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var read atomic.Int64
	for range 200 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for item := range l.Newest(1000).All() {
					read.Add(int64(len(item.JSON)))
				}
			}
		})
	}
	// In the middle of an answer, which no one ever ends:
	for range l.After(Cursor{}, 1000).All() {
		l.Record(Event{Kind: Watchdog, Severity: Critical, Message: "while one reads"})
		if s := l.Stats(); s.Pending != 1 || l.Stuck() != 0 {
			t.Errorf("%+v", s)
		}
		break
	}
	// The lock of who writes is held for good: no reader and no question waits.
	l.mu.Lock()
	before := read.Load()
	for deadline := time.Now().Add(time.Minute); read.Load() < before+1<<20; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the readers wait for a lock")
		}
	}
	if allocs := testing.AllocsPerRun(100, func() {
		l.Stats()
		l.Stuck()
	}); allocs > 0 {
		t.Errorf("a question of the main loop allocates %v times", allocs)
	}
	l.mu.Unlock()
	close(stop)
	wg.Wait()
}

func TestAViewDoesNotChange(t *testing.T) {
	r := start(t, "b", "")
	r.record(Boot, "first")
	r.record(ServiceStart, "second")
	page := r.Newest(9)
	for i := range maxPending + 5 {
		r.uptime.Add(refillSeconds)
		r.record(Watchdog, fmt.Sprint(i))
	}
	r.Use(filepath.Join(t.TempDir(), "gin-edge", "events"))
	r.stored()
	if got := messages(show(t, page)); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("%q", got)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// A poller that keeps its cursor learns of each event, or that it may have
// missed some, over restarts with and without a data partition.
func TestCursorsKnowTheirLog(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "gin-edge", "events")
	first := start(t, "boot-1", directory)
	first.record(Boot, "boot 1")
	first.record(ServiceStart, "start 1")
	first.stored()
	seen := first.Newest(9).Next
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	second := start(t, "boot-1", directory)
	second.record(ServiceStart, "start 2")
	second.stored()
	page := second.After(seen, 9)
	if got := messages(show(t, page)); page.Reset || !slices.Equal(got, []string{"start 2"}) {
		t.Errorf("over a restart: %q, reset %v", got, page.Reset)
	}
	// The partition goes, and with it who writes; the events go on.
	second.Use("")
	second.record(Watchdog, "in memory")
	page = second.After(page.Next, 9)
	memory := page.Next
	if got := messages(show(t, page)); page.Reset || !slices.Equal(got, []string{"in memory"}) {
		t.Errorf("without the partition: %q, reset %v", got, page.Reset)
	}
	if page = second.After(memory, 9); page.Reset || page.Len() > 0 || page.Next != memory {
		t.Errorf("nothing new: %+v", page)
	}
	_ = second.end()

	// What was never stored is gone, and its number is given again.
	third := start(t, "boot-1", directory)
	third.record(ServiceStart, "start 3")
	third.stored()
	for cursor, want := range map[Cursor]bool{seen: false, memory: true} {
		page := third.After(cursor, 9)
		got := messages(show(t, page))
		if page.Reset != want || got[len(got)-1] != "start 3" || want && got[0] != "boot 1" {
			t.Errorf("%v: %q, reset %v", cursor, got, page.Reset)
		}
	}
	seen = third.Newest(1).Next
	if err := third.end(); err != nil {
		t.Fatal(err)
	}

	// No partition at all, and as many events as before.
	fourth := start(t, "boot-1", "")
	for range 9 {
		fourth.record(ServiceStart, "start 4")
	}
	if page := fourth.After(seen, 9); !page.Reset || page.Len() != 9 {
		t.Errorf("in memory: %d events, reset %v", page.Len(), page.Reset)
	}
	// It comes late, empty: the numbers stay, but the disk gives them again.
	before := fourth.Newest(1).Next
	fourth.Use(filepath.Join(t.TempDir(), "gin-edge", "events"))
	fourth.stored()
	if page := fourth.After(before, 9); !page.Reset {
		t.Error("a cursor from before the partition came is one of its log")
	}
	_ = fourth.end()
}

// Numbers of events that damage has taken are given again.
func TestEpochEndsWithDamage(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "gin-edge", "events")
	r := start(t, "b", directory)
	for i := range 3 {
		r.record(Watchdog, fmt.Sprint(i))
	}
	r.stored()
	seen := r.Newest(1).Next
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(directory, current)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-3] ^= 1 // of the newest
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r = start(t, "b", directory)
	r.record(Watchdog, "again")
	r.stored()
	if page := r.After(seen, 9); !page.Reset {
		t.Errorf("%q follow the cursor", messages(show(t, page)))
	}
	_ = r.end()
}

func FuzzParseCursor(f *testing.F) {
	for _, s := range []string{"0", "17", "0123456789abcdef-2", "0000000000000000-2", "0123456789abcdef-02", "+1", "9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err != nil {
			if c != (Cursor{}) {
				t.Fatalf("%q: %v with %v", s, c, err)
			}
			return
		}
		if c.epoch != 0 && c.String() != s || c == (Cursor{}) && s != "0" {
			t.Fatalf("%q is read as %v", s, c)
		}
	})
}

// The whole log once, and what 1000 events of an answer cost.
func BenchmarkNewest(b *testing.B) {
	l := full(b)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for item := range l.Newest(1000).All() {
			n += len(item.JSON)
		}
		if n == 0 {
			b.Fatal("nothing")
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	disk, err := openDisk(filepath.Join(b.TempDir(), "gin-edge", "events"))
	if err != nil {
		b.Fatal(err)
	}
	s, _, err := openStore(disk, maxSegment)
	if err != nil {
		b.Fatal(err)
	}
	payload := event(1).encode()
	b.ReportAllocs()
	for b.Loop() {
		if err := s.append(payload); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.close(); err != nil {
		b.Fatal(err)
	}
}

// What a caller pays, the disk not included.
func BenchmarkRecord(b *testing.B) {
	l := New(Options{Uptime: func() float64 { return 1 }})
	e := Event{Kind: Watchdog, Severity: Critical, Message: "watchdog not fed", Fields: map[string]string{"failures": "1"}}
	b.ReportAllocs()
	for b.Loop() {
		l.Record(e)
	}
}

func BenchmarkScan(b *testing.B) {
	var data []byte
	for i := 1; len(data) < maxSegment-maxPayload; i++ {
		data = appendFrame(data, event(i).encode())
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if c := scan(data); c.bad > 0 {
			b.Fatal(c.bad)
		}
	}
}
