package faults

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// logBuilder writes a log like QEMU's.
type logBuilder struct {
	sectorSize int
	count      uint64
	body       []byte
}

func (b *logBuilder) entry(sector, sectors, flags uint64, data []byte) {
	header := make([]byte, b.sectorSize)
	binary.LittleEndian.PutUint64(header[0:], sector)
	binary.LittleEndian.PutUint64(header[8:], sectors)
	binary.LittleEndian.PutUint64(header[16:], flags)
	b.body = append(append(b.body, header...), data...)
	b.count++
}

// write fills sectors with a letter.
func (b *logBuilder) write(sector, sectors int, letter byte) {
	b.entry(uint64(sector), uint64(sectors), 0, bytes.Repeat([]byte{letter}, sectors*b.sectorSize))
}

func (b *logBuilder) flush() { b.entry(0, 0, flagFlush, nil) }

func (b *logBuilder) bytes() []byte {
	super := make([]byte, b.sectorSize)
	binary.LittleEndian.PutUint64(super[0:], logMagic)
	binary.LittleEndian.PutUint64(super[8:], logVersion)
	binary.LittleEndian.PutUint64(super[16:], b.count)
	binary.LittleEndian.PutUint32(super[24:], uint32(b.sectorSize))
	return append(super, b.body...)
}

func (b *logBuilder) log(t *testing.T) *Log {
	t.Helper()
	text := b.bytes()
	log, err := ReadLog(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// replay returns the disk after the cut, a letter for each sector of 512
// bytes; '.' is zero.
func replay(t *testing.T, log *Log, sectors, cut int, seed uint64) (string, Outcome) {
	t.Helper()
	directory := t.TempDir()
	base, image := filepath.Join(directory, "base"), filepath.Join(directory, "image")
	if err := os.WriteFile(base, bytes.Repeat([]byte{'-'}, sectors*diskSector), 0o600); err != nil {
		t.Fatal(err)
	}
	outcome, err := log.Replay(base, 0, cut, seed, image)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) != sectors*diskSector {
		t.Fatalf("the image has %d bytes", len(content))
	}
	var letters strings.Builder
	for n := range sectors {
		sector := content[n*diskSector:][:diskSector]
		if !bytes.Equal(sector, bytes.Repeat(sector[:1], diskSector)) {
			t.Fatalf("sector %d is torn within itself", n)
		}
		if sector[0] == 0 {
			sector[0] = '.'
		}
		letters.WriteByte(sector[0])
	}
	return letters.String(), outcome
}

func TestReplayFlushed(t *testing.T) {
	b := &logBuilder{sectorSize: 512}
	b.write(0, 2, 'a')
	b.write(1, 2, 'b')
	b.flush()
	b.entry(4, 2, 0, make([]byte, 2*512)) // zeroes
	b.entry(6, 1, flagDiscard, nil)
	b.entry(0, 0, flagMark, nil)
	b.write(7, 1, 'c')
	b.flush()
	log := b.log(t)
	for seed := range uint64(8) {
		if disk, outcome := replay(t, log, 8, 3, seed); disk != "abb-----" || outcome.Flushed != 3 || outcome.Kept+outcome.Lost != 0 {
			t.Errorf("behind the first flush: %s, %v", disk, outcome)
		}
		if disk, outcome := replay(t, log, 8, 8, seed); disk != "abb-...c" || outcome.Flushed != 8 {
			t.Errorf("behind the second flush: %s, %v", disk, outcome)
		}
	}
	if disk, _ := replay(t, log, 8, 0, 1); disk != "--------" {
		t.Errorf("before everything: %s", disk)
	}
}

// Of what was not flushed anything may be missing, in any combination, and the
// same seed gives the same disk.
func TestReplayUnflushed(t *testing.T) {
	b := &logBuilder{sectorSize: 512}
	b.write(0, 1, 'a')
	b.flush()
	b.write(1, 1, 'b')
	b.write(2, 1, 'c')
	b.entry(3, 1, flagFUA, bytes.Repeat([]byte{'f'}, 512))
	b.write(4, 4, 'd')
	b.write(0, 1, 'x') // behind the cut
	log := b.log(t)
	seen := map[string]int{}
	for seed := range uint64(500) {
		disk, outcome := replay(t, log, 8, 6, seed)
		if seed < 10 {
			if again, _ := replay(t, log, 8, 6, seed); again != disk {
				t.Fatalf("seed %d made %s and %s", seed, disk, again)
			}
		}
		if disk[0] != 'a' || disk[3] != 'f' {
			t.Fatalf("seed %d lost what was on the medium: %s", seed, disk)
		}
		if outcome.Kept+outcome.Lost != 4 || outcome.Flushed != 2 {
			t.Fatalf("%v", outcome)
		}
		torn := strings.Count(disk[4:], "d")
		if (torn > 0 && torn < 4) != (outcome.Torn > 0) || strings.Contains(disk, "-d") && disk[4] != 'd' {
			t.Fatalf("seed %d: %s, %v", seed, disk, outcome)
		}
		seen[disk]++
	}
	// b and c each there or not; of d 0 to 4 sectors.
	if len(seen) != 2*2*5 {
		t.Errorf("%d different disks, want 20: %v", len(seen), seen)
	}
}

// A large sector size, a flush that has data, and a disk that grows.
func TestReplayLargeSectors(t *testing.T) {
	b := &logBuilder{sectorSize: 4096}
	b.write(0, 1, 'a')
	b.entry(1, 1, flagFlush|flagFUA, bytes.Repeat([]byte{'b'}, 4096))
	log := b.log(t)
	for seed := range uint64(8) {
		disk, outcome := replay(t, log, 24, 2, seed)
		if disk != strings.Repeat("a", 8)+strings.Repeat("b", 8)+strings.Repeat("-", 8) {
			t.Errorf("%s, %v", disk, outcome)
		}
	}
	directory := t.TempDir()
	base, image := filepath.Join(directory, "base"), filepath.Join(directory, "image")
	if err := os.WriteFile(base, []byte("base"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Replay(base, 1<<20, 0, 1, image); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(image); err != nil || info.Size() != 1<<20 {
		t.Errorf("%v, %v", info, err)
	}
}

// Large zeroes become holes, where there was something before, too.
func TestReplayHoles(t *testing.T) {
	b := &logBuilder{sectorSize: 512}
	b.write(0, 1024, 'a')
	b.entry(0, 1024, 0, make([]byte, 1024*512))
	b.write(1000, 1, 'b')
	b.flush()
	disk, _ := replay(t, b.log(t), 1024, 4, 1)
	if want := strings.Repeat(".", 1000) + "b" + strings.Repeat(".", 23); disk != want {
		t.Error(disk)
	}
}

func TestReadLogRefuses(t *testing.T) {
	good := &logBuilder{sectorSize: 512}
	good.write(3, 2, 'a')
	good.flush()
	for _, c := range []struct {
		name   string
		damage func(log []byte) []byte
		want   string
	}{
		{"magic", func(b []byte) []byte { b[0]++; return b }, "magic"},
		{"version", func(b []byte) []byte { b[8] = 2; return b }, "version 2"},
		{"sector size", func(b []byte) []byte { b[25] = 3; return b }, "sector size 768"},
		{"count", func(b []byte) []byte { b[23] = 1; return b }, "entries cannot be"},
		{"short super block", func(b []byte) []byte { return b[:20] }, "super block"},
		{"no entry", func(b []byte) []byte { return b[:512] }, "entry 0 of 2: the file ends"},
		{"data cut off", func(b []byte) []byte { return b[:1500] }, "entry 0 of 2: its data is cut off"},
		{"second entry cut off", func(b []byte) []byte { return b[:512*4+8] }, "entry 1 of 2: the file ends"},
		{"flags", func(b []byte) []byte { b[512+16] = 0x10; return b }, "unknown flags 0x10"},
		{"length", func(b []byte) []byte { b[512+15] = 1; return b }, "beyond any disk"},
	} {
		text := c.damage(good.bytes())
		if _, err := ReadLog(bytes.NewReader(text), int64(len(text))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	if log, err := ReadLog(bytes.NewReader(nil), 0); err != nil || len(log.Entries) != 0 {
		t.Errorf("a log of nothing: %v, %v", log, err)
	}
	if _, err := good.log(t).Replay("", 0, 3, 1, ""); err == nil {
		t.Error("a cut behind the end is taken")
	}
}

func FuzzReadLog(f *testing.F) {
	b := &logBuilder{sectorSize: 512}
	b.write(3, 2, 'a')
	b.flush()
	b.entry(6, 1, flagDiscard, nil)
	b.entry(0, 0, flagMark, nil)
	f.Add(b.bytes())
	f.Add(b.bytes()[:1500])
	f.Fuzz(func(t *testing.T, text []byte) {
		log, err := ReadLog(bytes.NewReader(text), int64(len(text)))
		if err != nil {
			return
		}
		at := int64(0)
		for n, e := range log.Entries {
			if e.Offset < 0 || e.Length < 0 || e.data <= at || e.data > int64(len(text))+1<<20 {
				t.Fatalf("entry %d: %+v", n, e)
			}
			at = e.data
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	builder := &logBuilder{sectorSize: 512}
	random := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		builder.write(random.IntN(10000), 8, 'a')
	}
	text := builder.bytes()
	log, err := ReadLog(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		b.Fatal(err)
	}
	directory := b.TempDir()
	base := filepath.Join(directory, "base")
	if err := os.WriteFile(base, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		if _, err := log.Replay(base, 10<<20, len(log.Entries), 1, filepath.Join(directory, fmt.Sprint(n))); err != nil {
			b.Fatal(err)
		}
	}
}

// What QEMU itself logs, replayed to its end, is the disk that QEMU has made.
func TestReadLogOfQEMU(t *testing.T) {
	tool, err := exec.LookPath("qemu-io")
	if err != nil {
		t.Skip("qemu-io not found; on Debian: apt-get install qemu-utils")
	}
	directory := t.TempDir()
	base, disk, logFile := filepath.Join(directory, "base"), filepath.Join(directory, "disk"), filepath.Join(directory, "log")
	content := bytes.Repeat([]byte{'-'}, 1<<20)
	for _, file := range []string{base, disk} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(logFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--image-opts", "driver=blklogwrites,discard=unmap,file.driver=raw,file.discard=unmap,file.file.driver=file,file.file.discard=unmap,file.file.filename=" + disk +
		",log.driver=file,log.filename=" + logFile + ",log-super-update-interval=1"}
	for _, command := range []string{"write -P 1 0 4k", "aio_write -P 2 2k 64k", "aio_write -z 128k 256k", "aio_write -P 3 512k 64k", "aio_flush",
		"write -f -P 4 8k 512", "discard 640k 64k", "write -z 700k 4k", "flush", "write -P 5 1023k 1k"} {
		args = append(args, "-c", command)
	}
	if output, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-io: %v\n%s", err, output)
	}
	file, err := os.Open(logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	log, err := ReadLog(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	flushes := 0
	for _, e := range log.Entries {
		flushes += int(e.Flags & flagFlush)
	}
	if len(log.Entries) < 10 || flushes < 2 {
		t.Errorf("%d entries with %d flushes: %+v", len(log.Entries), flushes, log.Entries)
	}
	image := filepath.Join(directory, "image")
	outcome, err := log.Replay(base, 0, len(log.Entries), 1, image)
	if err != nil {
		t.Fatal(err)
	}
	if outcome.Flushed != len(log.Entries) {
		t.Errorf("QEMU has closed the disk without a flush: %v", outcome)
	}
	got, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	for n := range want {
		if got[n] != want[n] {
			t.Fatalf("byte %d is %d, QEMU's disk has %d; %+v", n, got[n], want[n], log.Entries)
		}
	}
}
