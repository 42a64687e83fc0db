package events

import (
	"context"
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

func messages(items []Item) []string {
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
	items := last.Newest(100)
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
	for _, tc := range []struct {
		items []Item
		want  []string
	}{
		{r.Newest(2), []string{"4", "5"}},
		{r.Newest(9), []string{"1", "2", "3", "4", "5"}},
		{r.After(0, 2), []string{"1", "2"}},
		{r.After(3, 9), []string{"4", "5"}},
		{r.After(5, 9), []string{}},
		{r.After(77, 1), []string{"1"}}, // of a log that is gone
	} {
		if got := messages(tc.items); !slices.Equal(got, tc.want) {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
	if s := r.Stats(); s.Pending != 5 || s.Lost != 0 || r.Newest(1)[0].Stored {
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
	items := r.Newest(maxPending)
	if items[0].Message != "first" || items[len(items)-1].Message != fmt.Sprint(maxPending+1) || items[len(items)-1].Stored {
		t.Errorf("kept: %q", messages(items))
	}
	if err := os.Rename(partition+"-away", partition); err != nil {
		t.Fatal(err)
	}
	r.Use(directory) // as at each look at the partition
	r.stored()
	items = r.Newest(1000)
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
	if got := messages(r.Newest(1000)); got[0] != "on the new one" {
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
	items := r.Newest(1000)
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
	if got := next.Newest(1); got[0].Message != "after the boot" {
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
	r.wait("the repair", func(s Stats) bool { return len(r.Newest(9)) == 5 && s.Pending == 0 })
	all := strings.Join(messages(r.Newest(9)), "\n")
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
				for j, item := range r.Newest(10) {
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
	items := r.Newest(1000)
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
		l.remember(uint64(i), make([]byte, 1000))
	}
	if len(l.history) != maxHistory/1000 || l.history[len(l.history)-1].seq != 999 {
		t.Errorf("%d events", len(l.history))
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
