// Package storage watches the data partition: whether it is mounted, can be
// written and has room. Nobody who asks waits for the disk: a goroutine of its
// own looks, and what it has seen has an age.
package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	interval = 10 * time.Second
	// tooOld is the age at which a result says nothing any more: three checks
	// have not come back.
	tooOld = 3 * interval

	// The partition is full when less than one percent or minFree is free: the
	// event log needs about this much, see package events. The same share holds
	// for inodes.
	minFree   = 1 << 20
	minInodes = 16
)

// State says how the data partition is.
type State string

// The states.
const (
	None     State = "none" // storage.data is empty: no partition is expected
	OK       State = "ok"
	Missing  State = "missing" // nothing is mounted there
	ReadOnly State = "read-only"
	Full     State = "full"
	Failed   State = "error"
)

// Report is what is known of the data partition.
type Report struct {
	Path       string // where it is expected
	State      State
	Detail     string // why it is not OK, else ""
	TotalBytes uint64
	FreeBytes  uint64 // for the service; the file system keeps some for root
}

// Err returns nil when the partition is as expected.
func (r Report) Err() error {
	if r.State == OK || r.State == None {
		return nil
	}
	return fmt.Errorf("%s: %s: %s", r.Path, r.State, r.Detail)
}

// Monitor looks at one path.
type Monitor struct {
	checked func(Report)
	probe   func(path string) Report
	ask     chan chan struct{}
	done    chan struct{}

	mu   sync.Mutex
	path string
	last Report // of path
	seen time.Time
}

// New returns a monitor that expects nothing. checked is told each result.
func New(checked func(Report)) *Monitor {
	return &Monitor{checked: checked, probe: probe, ask: make(chan chan struct{}), done: make(chan struct{}), last: Report{State: None}}
}

// Expect says where the data partition has to be mounted; "" means that none
// is expected. It waits for the first look at it, until ctx ends at most.
func (m *Monitor) Expect(ctx context.Context, path string) {
	m.mu.Lock()
	if m.path != path {
		m.path, m.seen = path, time.Now()
		m.last = Report{Path: path, State: Failed, Detail: "not looked at yet"}
	}
	m.mu.Unlock()
	looked := make(chan struct{})
	select {
	case m.ask <- looked:
	case <-ctx.Done():
		return
	}
	select {
	case <-looked:
	case <-ctx.Done():
	}
}

// Report returns the last result. It never waits.
func (m *Monitor) Report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.last
	if age := time.Since(m.seen); r.State != None && age > tooOld {
		r.State, r.Detail = Failed, fmt.Sprintf("no answer from the disk for %.0f s", age.Seconds())
	}
	return r
}

// Run looks every 10 s, and when Expect asks, until ctx ends. A disk that does
// not answer holds it up for as long; then it may outlive ctx, and whoever
// waits for Done must have a limit.
func (m *Monitor) Run(ctx context.Context) {
	defer close(m.done)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		var looked chan struct{}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case looked = <-m.ask:
		}
		m.look()
		if looked != nil {
			close(looked)
		}
	}
}

// Done is closed when Run has returned.
func (m *Monitor) Done() <-chan struct{} { return m.done }

func (m *Monitor) look() {
	m.mu.Lock()
	path := m.path
	m.mu.Unlock()
	r := Report{State: None}
	if path != "" {
		r = m.probe(path)
	}
	m.mu.Lock()
	if path != m.path { // Expect has changed it meanwhile
		m.mu.Unlock()
		return
	}
	m.last, m.seen = r, time.Now()
	m.mu.Unlock()
	m.checked(r)
}

func probe(path string) Report {
	failed := func(err error) Report {
		return Report{Path: path, State: Failed, Detail: err.Error()}
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return failed(err)
	}
	mount, err := FindMount(string(table), path)
	if err != nil {
		return failed(fmt.Errorf("/proc/self/mountinfo: %w", err))
	}
	if mount == nil {
		return Report{Path: path, State: Missing, Detail: "nothing is mounted there"}
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return failed(fmt.Errorf("statfs: %w", err))
	}
	r := judge(path, mount.ReadOnly, fs)
	if count := ext4Errors("/sys", mount.Device); r.State != ReadOnly && count > 0 {
		r.State, r.Detail = Failed, fmt.Sprintf("the file system has met %d errors and may not take writes; the next boot repairs it", count)
	}
	return r
}

// ext4Errors is the count of errors that the kernel keeps of the file system on
// the device, 0 for file systems other than ext4. From Linux 6.12 to 6.14 it is
// the only trace of errors=remount-ro.
func ext4Errors(sys, device string) uint64 {
	link, err := os.Readlink(filepath.Join(sys, "dev/block", device))
	if err != nil {
		return 0
	}
	text, err := os.ReadFile(filepath.Join(sys, "fs/ext4", filepath.Base(link), "errors_count"))
	if err != nil {
		return 0
	}
	count, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return count
}

func judge(path string, readOnly bool, fs syscall.Statfs_t) Report {
	block := uint64(fs.Bsize)
	r := Report{Path: path, State: OK, TotalBytes: fs.Blocks * block, FreeBytes: fs.Bavail * block}
	switch {
	case readOnly:
		r.State, r.Detail = ReadOnly, "the file system cannot be written; after an error the kernel makes it so"
	case r.FreeBytes < max(r.TotalBytes/100, minFree):
		r.State, r.Detail = Full, fmt.Sprintf("%d of %d bytes are free", r.FreeBytes, r.TotalBytes)
	case fs.Files > 0 && fs.Ffree < max(fs.Files/100, minInodes): // 0: the file system has no such limit
		r.State, r.Detail = Full, fmt.Sprintf("%d of %d inodes are free", fs.Ffree, fs.Files)
	}
	return r
}

// Mount is an entry of the mount table.
type Mount struct {
	ReadOnly bool   // of the file system, for everybody
	Device   string // major:minor
}

// FindMount reads proc_pid_mountinfo(5) and returns what is mounted on the
// path, the topmost when there are several, or nil. The path must not hold
// characters that the table escapes (space, tab, newline, backslash).
//
// ReadOnly is that of the superblock: ro, or emergency_ro, which is what ext4
// calls itself after an error since Linux 6.15. The other one, of the mount, also comes
// from the sandbox of the service, whose ProtectSystem=strict shows /data
// read-only although /data/gin-edge/state can be written.
func FindMount(table, path string) (*Mount, error) {
	var found *Mount
	for line := range strings.Lines(table) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		fields, rest := strings.Split(before, " "), strings.Split(after, " ")
		if !ok || len(fields) < 6 || len(rest) < 3 {
			return nil, errors.New("a line is not of the known form")
		}
		if fields[4] != path {
			continue
		}
		found = &Mount{Device: fields[2]}
		for option := range strings.SplitSeq(rest[2], ",") {
			found.ReadOnly = found.ReadOnly || option == "ro" || option == "emergency_ro"
		}
	}
	return found, nil
}
