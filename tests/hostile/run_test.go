package hostile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const shippedFile = "meta-gin-edge/recipes-gin-edge/gin-edge-conf/files/gin-edged.toml"

func TestAttacks(t *testing.T) {
	switch *targetFlag {
	case "":
		t.Skip("no -target to attack")
	case "process":
	default:
		t.Skip("TestGuest attacks a guest")
	}
	u, err := readUnit(filepath.Join(root, unitFile))
	if err != nil {
		t.Fatal(err)
	}
	p := pace{calm: time.Second, hold: 3 * time.Second, back: 10 * time.Second, native: true, reloads: 3}
	if *setFlag == "full" {
		p.calm, p.hold, p.follow, p.restarts, p.reloads = 2*time.Second, 8*time.Second, true, 1, 10
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			if a.full && *setFlag != "full" && !asked() {
				t.Skip("only in -set=full")
			}
			if (a.v6 || a.vanish) && !ownNetwork {
				t.Skip("needs a network of its own")
			}
			needTool(t, a)
			s := begin(t, u)
			warmUp(t, s.asking())
			report(t, s, a, p, u)
			if t.Failed() {
				path := filepath.Join(folder, strings.Map(safe, a.name)+".log")
				_ = os.WriteFile(path, []byte(s.Log.String()), 0o644)
			}
		})
	}
}

// needTool skips the rows of a tool that is not there.
func needTool(t *testing.T, a attack) {
	t.Helper()
	if _, err := exec.LookPath("slowhttptest"); a.tool != nil && err != nil {
		unchecked("%v: on Debian: apt-get install slowhttptest", err)
		t.Skip(err)
	}
}

// report makes the row, and the test's failures of its faults.
func report(t *testing.T, s subject, a attack, p pace, u *unit) {
	t.Helper()
	r, err := a.try(s, p, u)
	if err := s.stop(); err != nil {
		r.Faults = append(r.Faults, fmt.Sprintf("stop: %v", err))
	}
	if err != nil {
		t.Error(err)
	}
	for _, fault := range r.Faults {
		t.Error(fault)
	}
	r.Verdict = "ok"
	if t.Failed() {
		r.Verdict = "FAILED"
	}
	resultsMu.Lock()
	results = append(results, r)
	resultsMu.Unlock()
	// A run that is cut off has told what it saw.
	fmt.Printf("hostile: %s: %s; RSS %s MiB, with sockets %s; honest %d/%d failed; watchdog %s s; lost through reloads %s, restarts %s\n", a.name, r.Verdict,
		mebibytes(r.Peak.RSS), mebibytes(r.Peak.Total), r.Honest.Failed, r.Honest.Requests, seconds(r.Gap), r.Reload.column(r.Reloads), r.Restart.column(r.Restarts))
}

func safe(c rune) rune {
	if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
		return c
	}
	return '-'
}

// begin starts the daemon as an old device has it: the unit's limits, the
// shipped configuration, a full log of events.
func begin(t *testing.T, u *unit) *process {
	t.Helper()
	dir, err := os.MkdirTemp(folder, "run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	layer, data := "", filepath.Join(dir, "data")
	var group *cgroup
	if ownNetwork {
		unmount, err := dataPartition(data)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unmount() })
		layer = fmt.Sprintf("[storage]\ndata = %q\n", data)
		group, err = makeCgroup("/sys/fs/cgroup", "/proc/self/cgroup", "gin-edge-"+filepath.Base(dir), u)
		if err != nil {
			unchecked("no cgroup of its own (%v): the daemon has no memory limit", err)
		} else {
			t.Cleanup(func() {
				if err := group.remove(); err != nil {
					t.Error(err)
				}
			})
			if !group.v2 {
				unchecked("cgroups of version 1: no MemoryHigh=, only MemoryMax=, and sockets count apart")
			}
		}
	}
	path := filepath.Join(dir, "test.toml")
	if err := os.WriteFile(path, []byte(layer), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *process {
		p, err := startProcess(daemon, dir, u, group, filepath.Join(root, shippedFile), path)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if ownNetwork {
		fillEvents(t, data, start)
	}
	p := start()
	// A row that ends early must not keep the port.
	t.Cleanup(func() {
		_ = p.Signal(os.Kill)
		_ = p.stop()
	})
	return p
}

// logFolder is where the daemon keeps its log of events on the data partition; ""
// until the first row has asked it.
var logFolder string

// fillEvents gives the daemon that starts next the log of an old device.
func fillEvents(t *testing.T, data string, start func() *process) {
	t.Helper()
	if logFolder == "" {
		p := start()
		var told string
		for deadline := time.Now().Add(answerLimit); told == ""; time.Sleep(50 * time.Millisecond) {
			var err error
			if told, err = p.asking().eventFolder(); told == "" && time.Now().After(deadline) {
				t.Fatalf("the daemon does not say where its log of events is (%v)", err)
			}
		}
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		var err error
		if logFolder, err = filepath.Rel(data, told); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(data, logFolder)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, content := range fullEventLog() {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// warmUp asks for everything once and more, so that what is made once is no
// result of an attack.
func warmUp(t *testing.T, p place) {
	t.Helper()
	// The log of events is read in the background.
	var log struct{ Events []struct{ Seq int } }
	for deadline := time.Now().Add(answerLimit); ownNetwork; time.Sleep(50 * time.Millisecond) {
		err := p.ask("/api/v1/events?limit=100", &log)
		if err == nil && len(log.Events) == 100 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log of events is not full: %d events, %v", len(log.Events), err)
		}
	}
	for range 3 {
		for _, path := range []string{"/openapi.json", "/api/v1/events?limit=1000", "/api/v1/logs?limit=1000", "/api/v1/device", "/readyz"} {
			var any any
			if err := p.ask(path, &any); err != nil {
				t.Fatal(err)
			}
		}
	}
}
