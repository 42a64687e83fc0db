package storage

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const table = `22 1 254:0 / / ro,relatime shared:1 - erofs /dev/root ro
35 22 254:2 / /data ro,nodev shared:9 master:2 - ext4 /dev/vda3 rw,errors=remount-ro
36 35 254:2 /gin-edge /data/gin-edge rw - ext4 /dev/vda3 rw,errors=remount-ro
40 22 254:4 / /srv rw - ext4 /dev/vda4 rw
41 40 254:5 / /srv rw - ext4 /dev/vda5 ro
42 22 254:6 / /log rw - ext4 /dev/vda6 rw,emergency_ro,errors=remount-ro
`

func TestFindMount(t *testing.T) {
	for path, want := range map[string]string{
		"/":              "read-only",
		"/data":          "writable", // the mount is read-only, the file system is not
		"/data/gin-edge": "writable",
		"/srv":           "read-only", // the upper one
		"/log":           "read-only", // after an error
		"/dat":           "none",
		"/data/":         "none",
	} {
		got := "none"
		mount, err := FindMount(table, path)
		switch {
		case err != nil:
			t.Error(err)
		case mount != nil && mount.ReadOnly:
			got = "read-only"
		case mount != nil:
			got = "writable"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, bad := range []string{"x\n", "1 2 3:4 / /data rw\n", "1 2 3:4 / /data - ext4 x rw\n", "1 2 3:4 / /data rw - ext4 x\n"} {
		if mount, err := FindMount(table+bad, "/data"); err == nil {
			t.Errorf("%q: %+v", bad, mount)
		}
	}
}

func TestExt4Errors(t *testing.T) {
	sys := t.TempDir()
	for _, folder := range []string{"dev/block", "fs/ext4/vda3", "fs/ext4/vda4"} {
		if err := os.MkdirAll(filepath.Join(sys, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for device, name := range map[string]string{"254:3": "vda3", "254:4": "vda4", "254:5": "vda5"} {
		if err := os.Symlink("../../devices/virtio3/block/vda/"+name, filepath.Join(sys, "dev/block", device)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"vda3": "2\n", "vda4": "0\n"} {
		if err := os.WriteFile(filepath.Join(sys, "fs/ext4", name, "errors_count"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// vda5 is no ext4, and 0:35 no block device.
	for device, want := range map[string]uint64{"254:3": 2, "254:4": 0, "254:5": 0, "0:35": 0} {
		if got := ext4Errors(sys, device); got != want {
			t.Errorf("%s: %d, want %d", device, got, want)
		}
	}
}

func FuzzFindMount(f *testing.F) {
	f.Add(table)
	f.Add("1 2 3:4 / /data rw - ext4 x ro")
	f.Fuzz(func(t *testing.T, table string) {
		mount, err := FindMount(table, "/data")
		if err != nil && mount != nil {
			t.Fatalf("%+v with %v", mount, err)
		}
		if mount != nil && !strings.Contains(table, " /data ") {
			t.Fatal("found what is not there")
		}
	})
}

func TestJudge(t *testing.T) {
	const mib = 1 << 20
	fs := func(total, free, inodes, freeInodes uint64) syscall.Statfs_t {
		return syscall.Statfs_t{Bsize: 1024, Blocks: total / 1024, Bfree: total / 1024, Bavail: free / 1024, Files: inodes, Ffree: freeInodes}
	}
	for _, tc := range []struct {
		name     string
		readOnly bool
		fs       syscall.Statfs_t
		want     State
	}{
		{"plenty", false, fs(1000*mib, 500*mib, 10000, 5000), OK},
		{"one percent", false, fs(1000*mib, 10*mib, 10000, 5000), OK},
		{"less than one percent", false, fs(1000*mib, 10*mib-1024, 10000, 5000), Full},
		{"a small one with one MiB", false, fs(8*mib, mib, 1000, 500), OK},
		{"a small one with less", false, fs(8*mib, mib-1024, 1000, 500), Full},
		{"no inodes", false, fs(1000*mib, 500*mib, 10000, 99), Full},
		{"few inodes of few", false, fs(8*mib, 4*mib, 100, 15), Full},
		{"no limit of inodes", false, fs(1000*mib, 500*mib, 0, 0), OK},
		{"read-only and full", true, fs(1000*mib, 0, 10000, 0), ReadOnly},
	} {
		r := judge("/data", tc.readOnly, tc.fs)
		if r.State != tc.want || (r.Detail == "") != (tc.want == OK) || (r.Err() == nil) != (tc.want == OK) {
			t.Errorf("%s: %+v, want %s", tc.name, r, tc.want)
		}
		if r.TotalBytes != tc.fs.Blocks*1024 || r.FreeBytes != tc.fs.Bavail*1024 {
			t.Errorf("%s: %+v", tc.name, r)
		}
	}
}

// What this machine has.
func TestProbe(t *testing.T) {
	for path, want := range map[string]func(Report) bool{
		"/proc":     func(r Report) bool { return r.State != Missing && r.State != Failed },
		t.TempDir(): func(r Report) bool { return r.State == Missing && r.Err() != nil },
	} {
		if r := probe(path); !want(r) || r.Path != path {
			t.Errorf("%+v", r)
		}
	}
	if _, err := os.Stat("/proc/self/mountinfo"); err != nil {
		t.Error(err)
	}
}

func TestMonitor(t *testing.T) {
	reports := make(chan Report, 10)
	m := New(func(r Report) { reports <- r })
	hang, looks := make(chan struct{}), make(chan string, 10)
	m.probe = func(path string) Report {
		looks <- path
		if path == "/hangs" {
			<-hang
		}
		return Report{Path: path, State: OK, FreeBytes: 7}
	}
	ctx, cancel := context.WithCancel(context.Background())
	go m.Run(ctx)
	if r := m.Report(); r.State != None || r.Err() != nil {
		t.Errorf("at first: %+v", r)
	}
	m.Expect(ctx, "")
	if r := <-reports; r.State != None {
		t.Errorf("nothing expected: %+v", r)
	}
	m.Expect(ctx, "/data")
	if r := m.Report(); r.State != OK || r != <-reports {
		t.Errorf("after Expect: %+v", r)
	}

	// A disk that does not answer holds up nobody.
	short, end := context.WithTimeout(ctx, 20*time.Millisecond)
	defer end()
	m.Expect(short, "/hangs")
	if r := m.Report(); r.State != Failed || r.Detail != "not looked at yet" || r.Path != "/hangs" {
		t.Errorf("hanging: %+v", r)
	}
	m.mu.Lock()
	m.seen = time.Now().Add(-tooOld - 3*time.Second)
	m.mu.Unlock()
	if r := m.Report(); r.State != Failed || !strings.HasPrefix(r.Detail, "no answer from the disk for 33 s") {
		t.Errorf("hanging for long: %+v", r)
	}
	m.Expect(short, "/other")
	close(hang)
	m.Expect(ctx, "/other")
	// The late result is of a path that is not expected any more.
	if r := m.Report(); r.State != OK || r.Path != "/other" || r != <-reports || len(reports) > 0 {
		t.Errorf("afterwards: %+v", r)
	}
	cancel()
	<-m.Done()
}
