package device

import (
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
)

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func root() fstest.MapFS {
	return fstest.MapFS{
		"etc/machine-id":                 file("c0ffeec0ffeec0ffeec0ffeec0ffee00\n"),
		"etc/os-release":                 file("# comment\nNAME=\"Gin \\\"Edge\\\"\"\nVERSION_ID='1.2'\nVERSION=x\nBUILD_ID=2026\nBAD=\"open\n"),
		"proc/sys/kernel/hostname":       file("edge-7\n"),
		"proc/sys/kernel/osrelease":      file("6.18.0\n"),
		"proc/device-tree/model":         file("Board X\x00"),
		"sys/class/dmi/id/product_name":  file("PC\n"),
		"proc/sys/kernel/random/boot_id": file("5f2e\n"),
		"proc/uptime":                    file("12.50 3.00\n"),
		"proc/loadavg":                   file("0.10 0.20 0.30 1/99 1234\n"),
		"proc/meminfo":                   file("MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\n"),
		"proc/self/statm":                file("1000 10 5 1 0 100 0\n"),
	}
}

func TestInfo(t *testing.T) {
	r, err := NewReader(root())
	if err != nil {
		t.Fatal(err)
	}
	info, err := r.Info()
	if err != nil {
		t.Fatal(err)
	}
	want := Info{
		// Computed apart from this code, by the definition in ID.
		ID:       "495d31bfb84145e8ac4d1075cd05ed2d",
		Hostname: "edge-7", Model: "Board X", Arch: runtime.GOARCH, Kernel: "6.18.0",
		OS: OS{Name: `Gin "Edge"`, Version: "1.2", BuildID: "2026"},
	}
	if info != want {
		t.Errorf("got  %+v\nwant %+v", info, want)
	}
}

func TestInfoWithoutFiles(t *testing.T) {
	r, err := NewReader(fstest.MapFS{
		"sys/class/dmi/id/product_name": file("PC\n"),
		"etc/machine-id":                file("uninitialized\n"),
	})
	if err == nil || !strings.Contains(err.Error(), "machine-id") || !strings.Contains(err.Error(), "os-release") {
		t.Errorf("error = %v", err)
	}
	info, err := r.Info()
	if err == nil || info.Model != "PC" || info.ID != "" {
		t.Errorf("info = %+v, %v", info, err)
	}
}

func TestIDRefusesWhatIsNoMachineID(t *testing.T) {
	for _, in := range []string{"", "uninitialized", strings.Repeat("0", 32), strings.Repeat("A", 32), strings.Repeat("a", 31), strings.Repeat("a", 34)} {
		if id, err := ID(in); err == nil {
			t.Errorf("ID(%q) = %q", in, id)
		}
	}
	raw := strings.Repeat("ab", 16)
	if id, err := ID(raw); err != nil || strings.Contains(id, raw) || len(id) != 32 {
		t.Errorf("ID = %q, %v", id, err)
	}
}

func TestFigures(t *testing.T) {
	fsys := root()
	r, _ := NewReader(fsys)
	f, err := r.Figures()
	if err != nil {
		t.Fatal(err)
	}
	want := Figures{BootID: "5f2e", UptimeSeconds: 12.5, LoadAverage: [3]float64{.1, .2, .3},
		Memory: Memory{2048 * 1024, 1024 * 1024}, RSSBytes: uint64(10 * os.Getpagesize())}
	if f != want {
		t.Errorf("got  %+v\nwant %+v", f, want)
	}
	fsys["proc/meminfo"] = file("MemTotal: 1 kB\n")
	delete(fsys, "proc/uptime")
	f, err = r.Figures()
	if err == nil || !strings.Contains(err.Error(), "proc/meminfo") || !strings.Contains(err.Error(), "proc/uptime") || f.RSSBytes == 0 {
		t.Errorf("figures = %+v, %v", f, err)
	}
}

// The real files of the machine that runs the test.
func TestFiguresOfThisMachine(t *testing.T) {
	r, _ := NewReader(os.DirFS("/"))
	f, err := r.Figures()
	if err != nil || f.UptimeSeconds <= 0 || f.Memory.TotalBytes < f.Memory.AvailableBytes || f.RSSBytes == 0 || f.BootID == "" {
		t.Errorf("figures = %+v, %v", f, err)
	}
}

func FuzzProc(f *testing.F) {
	f.Add("12.5 3")
	f.Add("0.1 0.2 0.3 1/2 3")
	f.Add("MemTotal: 1 kB\nMemAvailable: 1 kB\n")
	f.Add("NaN Inf -1")
	f.Fuzz(func(t *testing.T, in string) {
		if v, err := ParseUptime(in); err == nil && !(v >= 0 && v <= math.MaxFloat64) {
			t.Errorf("uptime %v", v)
		}
		if v, err := ParseLoadAverage(in); err == nil {
			for _, l := range v {
				if !(l >= 0) {
					t.Errorf("load %v", v)
				}
			}
		}
		if m, err := ParseMeminfo(in); err != nil && m != (Memory{}) {
			t.Errorf("memory %v with error", m)
		}
		if rss, err := ParseStatm(in, 4096); err == nil && rss%4096 != 0 {
			t.Errorf("rss %v", rss)
		}
	})
}

func FuzzParseOSRelease(f *testing.F) {
	f.Add([]byte("NAME=\"a\\\"b\"\nVERSION='1'\n"))
	f.Add([]byte("NAME=\"\\"))
	f.Fuzz(func(t *testing.T, in []byte) {
		os := ParseOSRelease(in)
		if s := os.Name + os.Version + os.BuildID; strings.ToValidUTF8(s, "") != s || strings.Contains(s, "\n") {
			t.Errorf("%q gives %+v", in, os)
		}
	})
}

func FuzzID(f *testing.F) {
	f.Add("c0ffeec0ffeec0ffeec0ffeec0ffee00\n")
	f.Fuzz(func(t *testing.T, in string) {
		if id, err := ID(in); err == nil && (len(id) != 32 || id[12] != '4') {
			t.Errorf("%q gives %q", in, id)
		}
	})
}
