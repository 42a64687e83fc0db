package faults

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"syscall"
)

// The format of dm-log-writes, as QEMU's blklogwrites writes it: a super block
// in the first sector, then entries, each a header in a sector of its own with
// the written data behind it. All numbers are little endian.
const (
	logMagic   = 0x6a736677736872
	logVersion = 1

	flagFlush   = 1 << 0 // what was written before is on the medium now
	flagFUA     = 1 << 1 // this write is on the medium when it ends
	flagDiscard = 1 << 2 // no data follows
	flagMark    = 1 << 3 // a note of data_len bytes, behind the header in its sector
	flagMask    = flagFlush | flagFUA | flagDiscard | flagMark

	superLength = 28
	entryLength = 32

	// The smallest thing that a disk writes as a whole.
	diskSector = 512
)

// Entry is a write, a flush or a discard, in the order in which they were done.
type Entry struct {
	Offset, Length int64 // on the disk, in bytes
	Flags          uint64

	data int64 // where its data is in the log
}

// Log is a record of everything that was written to a disk.
type Log struct {
	Entries []Entry
	file    io.ReaderAt
}

// logCount reads the number of entries that the super block tells of, 0 when
// nothing was written yet. It can be asked while QEMU writes the log: with
// log-super-update-interval=1 all that was written before is counted.
func logCount(file io.ReaderAt) (count int, sectorSize int64, err error) {
	var super [superLength]byte
	if n, err := file.ReadAt(super[:], 0); n == 0 && errors.Is(err, io.EOF) {
		return 0, diskSector, nil
	} else if err != nil {
		return 0, 0, fmt.Errorf("log of writes: super block: %w", err)
	}
	if magic := binary.LittleEndian.Uint64(super[0:]); magic != logMagic {
		return 0, 0, fmt.Errorf("log of writes: magic number %#x, want %#x", magic, uint64(logMagic))
	}
	if version := binary.LittleEndian.Uint64(super[8:]); version != logVersion {
		return 0, 0, fmt.Errorf("log of writes: version %d, want %d", version, logVersion)
	}
	entries := binary.LittleEndian.Uint64(super[16:])
	size := binary.LittleEndian.Uint32(super[24:])
	if size < diskSector || size > 1<<20 || size&(size-1) != 0 {
		return 0, 0, fmt.Errorf("log of writes: sector size %d is not a power of two from 512 to 1 MiB", size)
	}
	if entries > 1<<32 {
		return 0, 0, fmt.Errorf("log of writes: %d entries cannot be", entries)
	}
	return int(entries), int64(size), nil
}

// ReadLog reads the entries, and leaves the data where it is: file has to stay
// open for Replay. size is the length of the file in bytes.
func ReadLog(file io.ReaderAt, size int64) (*Log, error) {
	count, sectorSize, err := logCount(file)
	if err != nil {
		return nil, err
	}
	log := &Log{file: file}
	at := sectorSize
	for n := range count {
		var header [entryLength]byte
		if at > size-entryLength {
			return nil, fmt.Errorf("log of writes: entry %d of %d: the file ends before it", n, count)
		}
		if _, err := file.ReadAt(header[:], at); err != nil {
			return nil, fmt.Errorf("log of writes: entry %d of %d: %w", n, count, err)
		}
		sector := binary.LittleEndian.Uint64(header[0:])
		sectors := binary.LittleEndian.Uint64(header[8:])
		e := Entry{Flags: binary.LittleEndian.Uint64(header[16:]), data: at + sectorSize}
		if e.Flags&^flagMask != 0 {
			return nil, fmt.Errorf("log of writes: entry %d of %d: unknown flags %#x", n, count, e.Flags)
		}
		const most = 1 << 50 // bytes: no sum below overflows
		if sector > uint64(most/sectorSize) || sectors > uint64(most/sectorSize) {
			return nil, fmt.Errorf("log of writes: entry %d of %d: %d sectors at %d are beyond any disk", n, count, sectors, sector)
		}
		e.Offset, e.Length = int64(sector)*sectorSize, int64(sectors)*sectorSize
		at += sectorSize
		if e.Flags&(flagDiscard|flagMark) == 0 {
			at += e.Length
		}
		// Zeroes at the very end of the log may not be in the file.
		if at > size && e.data < size && e.Length > 0 {
			return nil, fmt.Errorf("log of writes: entry %d of %d: its data is cut off", n, count)
		}
		log.Entries = append(log.Entries, e)
	}
	return log, nil
}

// writes tells whether the entry changes the disk.
func (e Entry) writes() bool { return e.Length > 0 && e.Flags&flagMark == 0 }

// Outcome says what a cut has left of the last writes.
type Outcome struct {
	Flushed int // entries up to and with the last flush
	Kept    int // later writes that had reached the medium
	Lost    int
	Torn    int64 // bytes of the one write that ended in its middle, or 0
}

func (o Outcome) String() string {
	return fmt.Sprintf("%d entries flushed; of the writes behind the flush %d kept, %d lost; torn after %d bytes", o.Flushed, o.Kept, o.Lost, o.Torn)
}

// Replay makes a new image of a disk whose power was cut when it had seen the
// first cut entries: base with everything that was written before the last
// flush among them, and of the later writes a subset by the seed, of which one
// may be torn between two sectors. A write with FUA is never lost. The image
// has size bytes, or those of base when that is more.
func (l *Log) Replay(base string, size int64, cut int, seed uint64, image string) (outcome Outcome, err error) {
	if cut < 0 || cut > len(l.Entries) {
		return outcome, fmt.Errorf("cut after %d of %d entries", cut, len(l.Entries))
	}
	out, err := copySparse(base, size, image)
	if err != nil {
		return outcome, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for n, e := range l.Entries[:cut] {
		if e.Flags&flagFlush != 0 {
			// Data of the very entry comes after its flush.
			outcome.Flushed = n
			if !e.writes() {
				outcome.Flushed = n + 1
			}
		}
	}
	for _, e := range l.Entries[:outcome.Flushed] {
		if err := l.apply(out, e, e.Length); err != nil {
			return outcome, err
		}
	}
	random := rand.New(rand.NewPCG(seed, uint64(cut)))
	// From "nearly all is lost" to "nearly nothing".
	share := random.Float64()
	type kept struct {
		Entry
		length int64
	}
	var survivors []kept
	for _, e := range l.Entries[outcome.Flushed:cut] {
		switch {
		case !e.writes():
		case e.Flags&flagFUA != 0 || random.Float64() < share:
			survivors = append(survivors, kept{e, e.Length})
			outcome.Kept++
		default:
			outcome.Lost++
		}
	}
	// Half of the cuts tear a write, where there is one of several sectors.
	var long []int
	for n, s := range survivors {
		if s.Length > diskSector && s.Flags&flagFUA == 0 {
			long = append(long, n)
		}
	}
	if len(long) > 0 && random.IntN(2) == 0 {
		s := &survivors[long[random.IntN(len(long))]]
		s.length = diskSector * (1 + random.Int64N(s.Length/diskSector-1))
		outcome.Torn = s.length
	}
	for _, s := range survivors {
		if err := l.apply(out, s.Entry, s.length); err != nil {
			return outcome, err
		}
	}
	return outcome, nil
}

// zeroes is what a large write is compared with: they make a hole.
var zeroes [64 << 10]byte

// apply writes the first length bytes of the entry.
func (l *Log) apply(out *os.File, e Entry, length int64) error {
	if !e.writes() {
		return nil
	}
	buffer := make([]byte, min(length, int64(len(zeroes))))
	for done := int64(0); done < length; {
		part := buffer[:min(length-done, int64(len(buffer)))]
		if e.Flags&flagDiscard != 0 {
			clear(part)
		} else if n, err := l.file.ReadAt(part, e.data+done); errors.Is(err, io.EOF) {
			clear(part[n:]) // zeroes at the very end, see ReadLog
		} else if err != nil {
			return fmt.Errorf("log of writes: %w", err)
		}
		if err := writeSparse(out, part, e.Offset+done); err != nil {
			return err
		}
		done += int64(len(part))
	}
	return nil
}

func writeSparse(out *os.File, part []byte, offset int64) error {
	const keepSizePunchHole = 1 | 2 // linux/falloc.h
	if len(part) == len(zeroes) && bytes.Equal(part, zeroes[:]) &&
		syscall.Fallocate(int(out.Fd()), keepSizePunchHole, offset, int64(len(part))) == nil {
		return nil
	}
	_, err := out.WriteAt(part, offset)
	return err
}

// copySparse copies base with its holes to a new file of at least size bytes.
func copySparse(base string, size int64, image string) (*os.File, error) {
	in, err := os.Open(base)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	failed := func(err error) (*os.File, error) {
		return nil, errors.Join(fmt.Errorf("copy %s to %s: %w", base, image, err), out.Close())
	}
	if err := out.Truncate(max(size, info.Size())); err != nil {
		return failed(err)
	}
	const seekData, seekHole = 3, 4 // lseek(2)
	for end := int64(0); ; {
		begin, err := in.Seek(end, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return out, nil // nothing but a hole to the end
		}
		if err != nil {
			return failed(err)
		}
		if end, err = in.Seek(begin, seekHole); err != nil {
			return failed(err)
		}
		if _, err := in.Seek(begin, io.SeekStart); err != nil {
			return failed(err)
		}
		if _, err := out.Seek(begin, io.SeekStart); err != nil {
			return failed(err)
		}
		if _, err := io.CopyN(out, in, end-begin); err != nil {
			return failed(err)
		}
	}
}
