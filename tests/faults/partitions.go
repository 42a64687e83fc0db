package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"unicode/utf16"
)

// The table of a disk with GPT (UEFI specification, chapter 5): a header in
// the second sector, and a copy of header and entries at the end of the disk.
const (
	gptSignature  = "EFI PART"
	gptEntrySize  = 128
	gptNameOffset = 56
	gptNameLength = 72
)

// Partition is one of a disk's; Offset and Length are in bytes.
type Partition struct {
	Name           string
	Offset, Length int64

	slot int // in the table
}

// gpt is one of the two tables with its entries.
type gpt struct {
	header  [92]byte
	entries []byte
	at      int64 // of the header, in bytes
}

func (g *gpt) number(offset int) int64 {
	return int64(binary.LittleEndian.Uint64(g.header[offset:]))
}

func readGPT(disk io.ReaderAt, at int64) (*gpt, error) {
	g := &gpt{at: at}
	if _, err := disk.ReadAt(g.header[:], at); err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	count, size := binary.LittleEndian.Uint32(g.header[80:]), binary.LittleEndian.Uint32(g.header[84:])
	if string(g.header[:8]) != gptSignature || size != gptEntrySize || count > 1024 {
		return nil, errors.New("partition table: it is not GPT with entries of 128 bytes")
	}
	g.entries = make([]byte, count*size)
	if _, err := disk.ReadAt(g.entries, g.number(72)*diskSector); err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	return g, nil
}

func (g *gpt) partitions() []Partition {
	var found []Partition
	for slot := range len(g.entries) / gptEntrySize {
		e := g.entries[slot*gptEntrySize:][:gptEntrySize]
		if [16]byte(e) == [16]byte{} {
			continue
		}
		var name []uint16
		for n := gptNameOffset; n < gptNameOffset+gptNameLength; n += 2 {
			if c := binary.LittleEndian.Uint16(e[n:]); c != 0 {
				name = append(name, c)
			}
		}
		first, last := int64(binary.LittleEndian.Uint64(e[32:])), int64(binary.LittleEndian.Uint64(e[40:]))
		found = append(found, Partition{string(utf16.Decode(name)), first * diskSector, (last - first + 1) * diskSector, slot})
	}
	return found
}

// readPartitions returns the partitions of the disk, in the order of the table.
func readPartitions(disk io.ReaderAt) ([]Partition, error) {
	g, err := readGPT(disk, diskSector)
	if err != nil {
		return nil, err
	}
	return g.partitions(), nil
}

// takeRoom leaves a disk without a data partition, and without room for one:
// where one of that name is, it becomes "other", else "other" fills the disk.
func takeRoom(disk *os.File) error {
	primary, err := readGPT(disk, diskSector)
	if err != nil {
		return err
	}
	backup, err := readGPT(disk, primary.number(32)*diskSector)
	if err != nil {
		return err
	}
	slot, free := -1, primary.number(40)
	for _, p := range primary.partitions() {
		if p.Name == "data" {
			slot = p.slot
		}
		free = max(free, (p.Offset+p.Length)/diskSector)
	}
	for _, g := range []*gpt{primary, backup} {
		var e []byte
		if slot >= 0 {
			e = g.entries[slot*gptEntrySize:][:gptEntrySize]
		} else {
			e = g.entries[len(primary.partitions())*gptEntrySize:][:gptEntrySize]
			copy(e, g.entries[:16])            // of the same type as the first
			copy(e[16:32], "gin-edge-faults!") // its GUID
			binary.LittleEndian.PutUint64(e[32:], uint64(free))
			binary.LittleEndian.PutUint64(e[40:], uint64(g.number(48))) // the last that may be used
		}
		clear(e[gptNameOffset : gptNameOffset+gptNameLength])
		for n, c := range utf16.Encode([]rune("other")) {
			binary.LittleEndian.PutUint16(e[gptNameOffset+2*n:], c)
		}
		binary.LittleEndian.PutUint32(g.header[88:], crc32.ChecksumIEEE(g.entries))
		clear(g.header[16:20])
		binary.LittleEndian.PutUint32(g.header[16:], crc32.ChecksumIEEE(g.header[:]))
		if _, err := disk.WriteAt(g.entries, g.number(72)*diskSector); err != nil {
			return fmt.Errorf("partition table: %w", err)
		}
		if _, err := disk.WriteAt(g.header[:], g.at); err != nil {
			return fmt.Errorf("partition table: %w", err)
		}
	}
	return nil
}
