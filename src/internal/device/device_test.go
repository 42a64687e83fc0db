package device

import (
	"fmt"
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
		"run/gin-edge-boot/reset-cause":  file("cause=watchdog\ndetail=no beat = reset\nboots=42\n"),
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

func TestLastReset(t *testing.T) {
	fsys := root()
	r, err := NewReader(fsys)
	if want := (Reset{"watchdog", "no beat = reset", 42}); err != nil || r.LastReset() != want {
		t.Errorf("%+v, %v", r.LastReset(), err)
	}
	fsys[resetFile] = file("cause=gremlins\n")
	r, err = NewReader(fsys)
	if want := (Reset{Cause: "unknown", Detail: "the record cannot be read"}); err == nil || !strings.Contains(err.Error(), resetFile+": line 1: cause is not one of power-loss, ") || r.LastReset() != want {
		t.Errorf("%+v, %v", r.LastReset(), err)
	}
	delete(fsys, resetFile)
	r, err = NewReader(fsys)
	if want := (Reset{Cause: "unknown", Detail: "not recorded"}); err != nil || r.LastReset() != want {
		t.Errorf("%+v, %v", r.LastReset(), err)
	}
}

func TestParseReset(t *testing.T) {
	for _, cause := range Causes {
		if r, err := ParseReset([]byte("cause=" + cause)); err != nil || r != (Reset{Cause: cause}) {
			t.Errorf("%s: %+v, %v", cause, r, err)
		}
	}
	for in, want := range map[string]string{
		"":                                   "no line cause=",
		"boots=1\n":                          "no line cause=",
		"cause=Reboot\n":                     "line 1: cause is not one of",
		"cause=reboot\ncause=reboot\n":       "line 2: the key is there twice",
		"cause=reboot\n\n":                   "line 2: not KEY=VALUE",
		"cause=reboot\nuptime=1\n":           "line 2: unknown key",
		"cause=reboot\n boots=1\n":           "line 2: unknown key",
		"cause=reboot\nboots=-1\n":           "line 2: boots is not",
		"cause=reboot\nboots=\n":             "line 2: boots is not",
		"cause=reboot\r\n":                   "line 1: a control character",
		"cause=reboot\ndetail=\x1b[31m\n":    "line 2: a control character",
		"cause=reboot\ndetail=\xff\n":        "not UTF-8",
		strings.Repeat("a", maxResetBytes+1): "larger than",
	} {
		if r, err := ParseReset([]byte(in)); err == nil || !strings.HasPrefix(err.Error(), want) || r != (Reset{}) {
			t.Errorf("%q: %+v, %v; want %q", in, r, err, want)
		}
	}
}

func FuzzParseReset(f *testing.F) {
	f.Add([]byte("cause=power-loss\ndetail=a=b\nboots=7\n"))
	f.Add([]byte("boots=18446744073709551616\ncause="))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ParseReset(in)
		if err != nil {
			if r != (Reset{}) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("%+v, %q", r, err)
			}
			return
		}
		again, err := ParseReset(fmt.Appendf(nil, "cause=%s\ndetail=%s\nboots=%d\n", r.Cause, r.Detail, r.Boots))
		if err != nil || again != r {
			t.Fatalf("%+v reads back as %+v, %v", r, again, err)
		}
	})
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
