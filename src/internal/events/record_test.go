package events

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func event(seq int) Event {
	return Event{Seq: uint64(seq), BootID: "b", Time: time.Unix(int64(seq), 0).UTC(), Kind: Watchdog, Severity: Critical, Message: fmt.Sprint("event ", seq)}
}

// segment returns n records and where each of them ends.
func segment(n int) (data []byte, ends []int) {
	for i := range n {
		data = appendFrame(data, event(i+1).encode())
		ends = append(ends, len(data))
	}
	return data, ends
}

func seqs(records []record) []int {
	var list []int
	for _, r := range records {
		list = append(list, int(r.event.Seq))
	}
	return list
}

func TestScanOfASegmentThatWasCutAnywhere(t *testing.T) {
	data, ends := segment(4)
	for _, zeros := range []int{0, 1, 4096} {
		for size := range len(data) + 1 {
			whole := 0
			for whole < len(ends) && ends[whole] <= size {
				whole++
			}
			good := 0
			if whole > 0 {
				good = ends[whole-1]
			}
			if zeros > 0 && good != size {
				continue // zeros inside a record are damage
			}
			c := scan(append(data[:size:size], make([]byte, zeros)...))
			if len(c.records) != whole || c.good != good || c.bad != size-good+zeros || c.torn != (c.bad > 0) {
				t.Fatalf("cut at %d, %d zeros: %d records, %+v", size, zeros, len(c.records), c)
			}
			for i, r := range c.records {
				if !bytes.Equal(r.payload, event(i+1).encode()) || r.event.Message != event(i+1).Message {
					t.Fatalf("cut at %d: record %d is %+v", size, i, r.event)
				}
			}
		}
	}
}

func TestScanOfASegmentWithAnyByteFlipped(t *testing.T) {
	data, ends := segment(4)
	for i := range data {
		hit := 0
		for ends[hit] <= i {
			hit++
		}
		want := slices.Delete([]int{1, 2, 3, 4}, hit, hit+1)
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(data)
			damaged[i] ^= mask
			c := scan(damaged)
			if got := seqs(c.records); !slices.Equal(got, want) {
				t.Fatalf("byte %d ^ %#x: records %v, want %v", i, mask, got, want)
			}
			for _, r := range c.records {
				if !bytes.Equal(r.payload, event(int(r.event.Seq)).encode()) {
					t.Fatalf("byte %d ^ %#x: record %s", i, mask, r.payload)
				}
			}
			// Only in the last record can it be taken for a torn one, and only when
			// the length claims more than there is.
			if c.torn && hit != len(ends)-1 {
				t.Fatalf("byte %d ^ %#x: damage before the end is taken for a torn record", i, mask)
			}
		}
	}
}

func TestEncodeIsBounded(t *testing.T) {
	e := event(1)
	e.Message = strings.Repeat("\x01", maxMessage)
	e.Fields = map[string]string{"k": strings.Repeat("\x02", maxField)}
	for _, e := range []Event{e, {Seq: 1, Time: time.Unix(1<<40, 0)}, {Seq: 1, Message: "\xff\xfe\xfd\xfc"}} {
		payload := e.encode()
		if c := scan(appendFrame(nil, payload)); len(payload) > maxPayload || len(c.records) != 1 || c.bad != 0 || bytes.Contains(payload, []byte{0xff}) {
			t.Errorf("payload of %d bytes: %+v", len(payload), c)
		}
	}
	if got := cut("aé", 2); got != "a" {
		t.Errorf("cut = %q", got)
	}
}

func FuzzScan(f *testing.F) {
	data, ends := segment(3)
	f.Add(data)
	f.Add(data[:ends[1]+7])
	f.Add(append([]byte(magic+magic), data[5:]...))
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := scan(data)
		again := []byte{}
		for _, r := range c.records {
			if r.event.Seq == 0 || len(r.payload) > maxPayload {
				t.Fatalf("record %s", r.payload)
			}
			again = appendFrame(again, r.payload)
		}
		if len(again)+c.bad != len(data) || c.good > len(again) || c.torn && c.good+c.bad != len(data) {
			t.Fatalf("%d bytes: %d in records, %+v", len(data), len(again), c)
		}
		if c.bad == 0 && !bytes.Equal(again, data) {
			t.Fatal("a segment without damage does not come back")
		}
		if s := scan(again); s.bad != 0 || len(s.records) != len(c.records) {
			t.Fatalf("what was salvaged is damaged: %+v", s)
		}
	})
}
