package device

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
)

// Figures are the measured values of the running system. What cannot be read
// is zero.
type Figures struct {
	BootID        string
	UptimeSeconds float64    // since boot, time in suspend included
	LoadAverage   [3]float64 // over 1, 5 and 15 minutes
	Memory        Memory
	RSSBytes      uint64 // memory of this process that is in RAM
}

// Memory is the RAM of the device, in bytes.
type Memory struct {
	TotalBytes     uint64 `json:"total_bytes"`
	AvailableBytes uint64 `json:"available_bytes"` // MemAvailable of proc_meminfo(5)
}

// Figures reads the values. The error lists what could not be read; the rest
// of the result holds nevertheless.
func (r *Reader) Figures() (Figures, error) {
	var f Figures
	var err error
	var errs []error
	if f.BootID, err = r.BootID(); err != nil {
		errs = append(errs, err)
	}
	read := func(path string, parse func(string) error) {
		data, err := fs.ReadFile(r.root, path)
		if err == nil {
			err = parse(string(data))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	if f.UptimeSeconds, err = r.Uptime(); err != nil {
		errs = append(errs, err)
	}
	read("proc/loadavg", func(s string) (err error) { f.LoadAverage, err = ParseLoadAverage(s); return })
	read("proc/meminfo", func(s string) (err error) { f.Memory, err = ParseMeminfo(s); return })
	read("proc/self/statm", func(s string) (err error) { f.RSSBytes, err = ParseStatm(s, os.Getpagesize()); return })
	return f, errors.Join(errs...)
}

// BootID returns the kernel's random id of this boot.
func (r *Reader) BootID() (string, error) { return r.line("proc/sys/kernel/random/boot_id") }

// Uptime returns the time since the boot in seconds, time in suspend included.
func (r *Reader) Uptime() (float64, error) {
	data, err := fs.ReadFile(r.root, "proc/uptime")
	if err != nil {
		return 0, err
	}
	seconds, err := ParseUptime(string(data))
	if err != nil {
		return 0, fmt.Errorf("proc/uptime: %w", err)
	}
	return seconds, nil
}

// ParseUptime reads proc_uptime(5): the first field, in seconds.
func ParseUptime(s string) (float64, error) {
	fields := strings.Fields(s)
	if len(fields) < 1 {
		return 0, errors.New("empty")
	}
	return parseNonNegative(fields[0])
}

// ParseLoadAverage reads proc_loadavg(5): the first three fields.
func ParseLoadAverage(s string) (load [3]float64, err error) {
	fields := strings.Fields(s)
	if len(fields) < 3 {
		return load, errors.New("less than three fields")
	}
	for i := range load {
		if load[i], err = parseNonNegative(fields[i]); err != nil {
			return [3]float64{}, err
		}
	}
	return load, nil
}

// ParseMeminfo reads proc_meminfo(5): MemTotal and MemAvailable, in kB there.
func ParseMeminfo(s string) (Memory, error) {
	var m Memory
	found := 0
	for line := range strings.Lines(s) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		var target *uint64
		switch fields[0] {
		case "MemTotal:":
			target = &m.TotalBytes
		case "MemAvailable:":
			target = &m.AvailableBytes
		default:
			continue
		}
		kb, err := strconv.ParseUint(fields[1], 10, 54)
		if err != nil {
			return Memory{}, fmt.Errorf("%s %w", fields[0], err)
		}
		*target = kb * 1024
		found++
	}
	if found != 2 {
		return Memory{}, errors.New("MemTotal and MemAvailable are not there once each")
	}
	return m, nil
}

// ParseStatm reads proc_pid_statm(5): the second field, in pages.
func ParseStatm(s string, pageSize int) (uint64, error) {
	fields := strings.Fields(s)
	if len(fields) < 2 {
		return 0, errors.New("less than two fields")
	}
	pages, err := strconv.ParseUint(fields[1], 10, 40)
	if err != nil {
		return 0, err
	}
	return pages * uint64(pageSize), nil
}

func parseNonNegative(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0) || v < 0) {
		err = fmt.Errorf("%q is not a finite, non-negative number", s)
	}
	return v, err
}
