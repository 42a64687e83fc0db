package events

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var errCut = errors.New("cut")

// memory is a disk on which a cut leaves what was synchronised, and of the
// rest all, nothing or a part.
type memory struct {
	names, durable map[string]*inode
	changes        []func(names map[string]*inode) // from durable to names
	steps          int                             // changes until the cut or the fault; -1 for none
	fault          bool                            // only this one change fails, and what it did is kept
}

type inode struct {
	disk          *memory
	data, durable []byte
}

func newMemory() *memory {
	return &memory{names: map[string]*inode{}, durable: map[string]*inode{}, steps: -1}
}

func (m *memory) change(f func(names map[string]*inode)) {
	f(m.names)
	m.changes = append(m.changes, f)
}

func (m *memory) step() error {
	if m.steps == 0 {
		if m.fault {
			m.steps = -1
		}
		return errCut
	}
	if m.steps > 0 {
		m.steps--
	}
	return nil
}

func (m *memory) read(name string) ([]byte, error) {
	if n := m.names[name]; n != nil {
		return bytes.Clone(n.data), nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) open(name string) (file, error) {
	if m.names[name] == nil {
		if err := m.step(); err != nil {
			return nil, err
		}
		n := &inode{disk: m}
		m.change(func(names map[string]*inode) { names[name] = n })
	}
	return m.names[name], nil
}

func (m *memory) rename(from, to string) error {
	if err := m.step(); err != nil {
		return err
	}
	n := m.names[from]
	m.change(func(names map[string]*inode) {
		names[to] = n
		delete(names, from)
	})
	return nil
}

func (m *memory) sync() error {
	if err := m.step(); err != nil {
		return err
	}
	m.durable, m.changes = maps.Clone(m.names), nil
	return nil
}

func (m *memory) stale(file) bool { return false }
func (m *memory) close() error    { return nil }

func (n *inode) WriteAt(p []byte, offset int64) (int, error) {
	err := n.disk.step()
	if err != nil {
		p = p[:len(p)/2]
	}
	n.data = append(n.data, make([]byte, max(0, int(offset)+len(p)-len(n.data)))...)
	return copy(n.data[offset:], p), err
}

func (n *inode) Truncate(size int64) error {
	if err := n.disk.step(); err != nil {
		return err
	}
	n.data = append(slices.Clip(n.data[:min(int(size), len(n.data))]), make([]byte, max(0, int(size)-len(n.data)))...)
	return nil
}

func (n *inode) Sync() error {
	if err := n.disk.step(); err != nil {
		return err
	}
	n.durable = bytes.Clone(n.data)
	return nil
}

func (n *inode) Close() error { return nil }

// after returns the disks that a cut can leave.
func (m *memory) after() map[string]*memory {
	disks := map[string]*memory{}
	// Any of the changes may have reached the disk.
	for subset := range 1 << len(m.changes) {
		names := maps.Clone(m.durable)
		for i, change := range m.changes {
			if subset>>i&1 == 1 {
				change(names)
			}
		}
		contents := map[string]func(n *inode) []byte{
			"data synchronised": func(n *inode) []byte { return n.durable },
			"data written":      func(n *inode) []byte { return n.data },
			"zeros": func(n *inode) []byte {
				return append(bytes.Clone(n.durable), make([]byte, max(0, len(n.data)-len(n.durable)))...)
			},
		}
		for part := 1; part < 200; part += 31 {
			contents[fmt.Sprintf("%d bytes more", part)] = func(n *inode) []byte {
				if len(n.data) < len(n.durable) {
					return n.durable
				}
				return n.data[:min(len(n.data), len(n.durable)+part)]
			}
		}
		for what, content := range contents {
			disk := newMemory()
			for name, n := range names {
				data := bytes.Clone(content(n))
				disk.names[name] = &inode{disk: disk, data: data, durable: data}
			}
			disk.durable = maps.Clone(disk.names)
			disks[fmt.Sprintf("changes %b, %s", subset, what)] = disk
		}
	}
	return disks
}

const smallSegment = 500 // three records

// wantAcknowledged opens the disk: the newest records must be those that were
// acknowledged, at least a segment of them, and perhaps the one that was being
// written. An append must work, too.
func wantAcknowledged(t *testing.T, disk *memory, acknowledged int) {
	t.Helper()
	for _, extra := range []int{0, 1} { // the second time with what the first has appended
		s, found, err := openStore(disk, smallSegment)
		if err != nil {
			t.Fatal(err)
		}
		got := seqs(found.records)
		newest := 0
		for i, seq := range got {
			if i > 0 && seq != newest+1 {
				t.Fatalf("records %v of %d acknowledged", got, acknowledged)
			}
			newest = seq
		}
		if len(got) < min(acknowledged, 3) || newest < acknowledged+extra || newest > acknowledged+1+extra || found.corrupt > 0 {
			t.Fatalf("records %v of %d acknowledged and %d appended, %+v", got, acknowledged, extra, found.corrupt)
		}
		if extra == 0 {
			if err := s.append(event(newest + 1).encode()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestCutAtEveryStep(t *testing.T) {
	const records = 11 // three rotations
	for steps := 0; ; steps++ {
		disk := newMemory()
		disk.steps = steps
		acknowledged := 0
		s, _, err := openStore(disk, smallSegment)
		for err == nil && acknowledged < records {
			if err = s.append(event(acknowledged + 1).encode()); err == nil {
				acknowledged++
			}
		}
		for name, left := range disk.after() {
			t.Run(fmt.Sprintf("%d steps, %s", steps, name), func(t *testing.T) { wantAcknowledged(t, left, acknowledged) })
		}
		if err == nil {
			if steps < 35 {
				t.Fatalf("only %d steps for %d records", steps, records)
			}
			return
		}
	}
}

// A disk that refuses one operation, and then goes on.
func TestFaultAtEveryStep(t *testing.T) {
	const records = 11
	for steps := 0; ; steps++ {
		disk := newMemory()
		disk.steps, disk.fault = steps, true
		failures := 0
		s, _, err := openStore(disk, smallSegment)
		if err != nil {
			failures++
			if s, _, err = openStore(disk, smallSegment); err != nil {
				t.Fatal(err)
			}
		}
		for seq := 1; seq <= records; {
			e := event(seq)
			if failures > 0 {
				e.Message = "short" // so that the one that failed would stick out
			}
			if err := s.append(e.encode()); err != nil {
				failures++
				continue
			}
			seq++
		}
		for name, left := range disk.after() {
			t.Run(fmt.Sprintf("%d steps, %s", steps, name), func(t *testing.T) { wantAcknowledged(t, left, records) })
		}
		if failures == 0 {
			return
		}
		if failures > 1 {
			t.Fatalf("%d failures of one fault", failures)
		}
	}
}

func TestSalvageCutAtEveryStep(t *testing.T) {
	data, ends := segment(4)
	data[ends[1]+headerBytes+3] ^= 1 // in the third record
	for steps := 0; ; steps++ {
		disk := newMemory()
		for _, name := range []string{current, corrupt} {
			disk.names[name] = &inode{disk: disk, data: []byte("of an earlier time"), durable: []byte("of an earlier time")}
		}
		disk.names[current].data, disk.names[current].durable = data, data
		disk.durable = maps.Clone(disk.names)
		disk.steps = steps
		_, _, err := openStore(disk, 4096)
		for name, left := range disk.after() {
			s, found, err := openStore(left, 4096)
			if err != nil {
				t.Fatal(err)
			}
			if got := seqs(found.records); !slices.Equal(got, []int{1, 2, 4}) {
				t.Fatalf("%d steps, %s: records %v", steps, name, got)
			}
			if err := s.append(event(5).encode()); err != nil {
				t.Fatal(err)
			}
			_, found, err = openStore(left, 4096)
			if got := seqs(found.records); err != nil || found.corrupt != 0 || !slices.Equal(got, []int{1, 2, 4, 5}) {
				t.Fatalf("%d steps, %s: records %v of the repaired log, %v", steps, name, got, err)
			}
			if kept, _ := left.read(corrupt); !bytes.Equal(kept, data) {
				t.Fatalf("%d steps, %s: what was damaged is not kept", steps, name)
			}
		}
		if err == nil {
			return
		}
	}
}

// cutFile opens, appends to and opens again a segment that was cut.
func cutFile(t *testing.T, size, whole int, open func() disk) {
	t.Helper()
	want := []int{1, 2, 3, 4}[:whole]
	for range 2 {
		s, found, err := openStore(open(), maxSegment)
		if err != nil {
			t.Fatal(err)
		}
		if got := seqs(found.records); !slices.Equal(got, want) {
			t.Fatalf("cut at %d: records %v, want %v", size, got, want)
		}
		if err := s.append(event(9).encode()); err != nil {
			t.Fatal(err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		want = append(slices.Clip(want), 9)
	}
}

func TestOpenAndAppendAfterACutAtEveryByte(t *testing.T) {
	data, ends := segment(4)
	directory := filepath.Join(t.TempDir(), "events")
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	whole := 0
	for size := range len(data) + 1 {
		if whole < len(ends) && ends[whole] <= size {
			whole++
		}
		m := newMemory()
		m.names[current] = &inode{disk: m, data: bytes.Clone(data[:size])}
		cutFile(t, size, whole, func() disk { return m })
		if size%97 > 0 {
			continue
		}
		// A real file system, too; each append takes its time there.
		if err := os.WriteFile(filepath.Join(directory, current), data[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		cutFile(t, size, whole, func() disk {
			d, err := openDisk(directory)
			if err != nil {
				t.Fatal(err)
			}
			return d
		})
	}
}

func TestOpenDisk(t *testing.T) {
	parent := t.TempDir()
	if _, err := openDisk(filepath.Join(parent, "a", "b", "c")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made more than a directory and its parent: %v", err)
	}
	directory := filepath.Join(parent, "gin-edge", "events")
	disk, err := openDisk(directory)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDisk(directory); err == nil || !strings.Contains(err.Error(), "another process writes there") {
		t.Errorf("a second one: %v", err)
	}
	f, err := disk.open(current)
	if err != nil {
		t.Fatal(err)
	}
	if disk.stale(f) {
		t.Error("a new directory is stale")
	}
	if err := os.Rename(filepath.Join(directory, current), filepath.Join(directory, "x")); err != nil {
		t.Fatal(err)
	}
	if !disk.stale(f) || disk.stale(nil) {
		t.Error("a file that is gone is not noticed")
	}
	if err := os.Rename(directory, directory+"-x"); err != nil {
		t.Fatal(err)
	}
	if !disk.stale(nil) {
		t.Error("a directory that is gone is not noticed")
	}
	if err := os.Truncate(filepath.Join(directory+"-x", "x"), maxRead+1); err != nil {
		t.Fatal(err)
	}
	disk.path = directory + "-x"
	if _, err := disk.read("x"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file that is too large: %v", err)
	}
	if _, err := disk.open("../events-x"); err == nil {
		t.Error("a directory was opened as a file")
	}
}
