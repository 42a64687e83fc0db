// Package faults attacks a guest: it cuts its power, freezes it, fills and
// damages its data partition, takes its network and its clock away, and scans
// it from outside. Each fault is a test; the run ends with a table of them.
//
//	go test ./faults -target=try -timeout 1h
//	go test ./faults -target=image -set=full -timeout 12h -boot-args "--deploy DIR"
//
// Power cuts run side by side, as many at a time as -parallel says (default: the
// number of processors); everything else one by one.
package faults

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/guest"
)

var (
	targetFlag = flag.String("target", "", "guest to attack: try, try:amd64, try:arm64 or image; without one only the tests that need no guest run")
	setFlag    = flag.String("set", "short", "short: what a push runs, about ten boots; full: everything")
	cutsFlag   = flag.Int("cuts", 0, "number of power cuts (default: 4 in the short set, 200 in the full one)")
	seedFlag   = flag.Uint64("seed", 1, "where the cuts are, and what they leave of the unflushed writes")
	bootArgs   = flag.String("boot-args", "", "further `arguments` for scripts/try or scripts/boot, separated by spaces")
)

// root is the checkout; tests run in their package's folder.
var root = must(filepath.Abs("../.."))

// folder keeps the serial logs of the run, and the disks of what failed.
var folder string

// guests are those of the run.
var guests *guest.Run

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if *targetFlag == "" {
		return m.Run()
	}
	kind, _, _ := strings.Cut(*targetFlag, ":")
	if kind != "try" && *targetFlag != "image" || *setFlag != "short" && *setFlag != "full" {
		fmt.Fprintln(os.Stderr, "-target is try, try:ARCH or image, -set is short or full; see -help")
		return 2
	}
	if *cutsFlag == 0 {
		*cutsFlag = 4
		if *setFlag == "full" {
			*cutsFlag = 200
		}
	}
	var err error
	if folder, err = makeFolder(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	guests = guest.NewRun(root, folder)
	fmt.Printf("faults: target %s, set %s, %d cuts, seed %d; serial logs and failed disks: %s\n", *targetFlag, *setFlag, *cutsFlag, *seedFlag, folder)
	status := m.Run()
	if shared != nil {
		shared.End(false)
	}
	for _, file := range scratch {
		_ = os.Remove(file)
	}
	printTable()
	fmt.Printf("serial logs and failed disks: %s\n", folder)
	return status
}

// makeFolder returns a short path: unix sockets are in it.
func makeFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	runs := filepath.Join(cache, "gin-edge", "faults")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(runs, time.Now().Format("20060102-150405-"))
}

// scratch is what the end of the run removes.
var scratch []string

// result is a line of the table.
type result struct {
	fault, injected, survived, took, cause string

	notes []string
	begun time.Time
}

// results has the faults in the order of their tests. Those of the power cuts
// begin side by side.
var (
	results   []*result
	resultsMu sync.Mutex
)

// begin starts a line of the table, and skips the test where there is no guest.
func begin(t *testing.T, fault, injected string) *result {
	t.Helper()
	if *targetFlag == "" {
		t.Skip("no -target to attack")
	}
	r := &result{fault: fault, injected: injected, begun: time.Now()}
	resultsMu.Lock()
	results = append(results, r)
	resultsMu.Unlock()
	fmt.Printf("faults: %s: %s\n", fault, injected)
	t.Cleanup(func() {
		switch {
		case t.Failed():
			r.survived = "NO"
		case t.Skipped():
			r.survived = "skipped"
		default:
			r.survived = "yes"
		}
		fmt.Printf("faults: %s: survived: %s, to 200: %s, cause: %s (%.0f s)\n", fault, r.survived, r.took, r.cause, time.Since(r.begun).Seconds())
	})
	return r
}

// inFull skips what the short set leaves out.
func inFull(t *testing.T) {
	t.Helper()
	if *targetFlag != "" && *setFlag != "full" {
		t.Skip("only in -set=full")
	}
}

// unchecked says loudly that a part of the assertions could not be made.
func (r *result) unchecked(t *testing.T, format string, args ...any) {
	t.Helper()
	note := fmt.Sprintf(format, args...)
	for _, n := range r.notes {
		if n == note {
			return
		}
	}
	r.notes = append(r.notes, note)
	t.Logf("NOT CHECKED: %s", note)
	fmt.Printf("faults: %s: NOT CHECKED: %s\n", r.fault, note)
}

func printTable() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nfault\tinjected\tsurvived\ttime to 200\tcause or finding")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.fault, r.injected, r.survived, r.took, r.cause)
	}
	_ = w.Flush()
	for _, r := range results {
		for _, note := range r.notes {
			fmt.Printf("NOT CHECKED: %s: %s\n", r.fault, note)
		}
	}
}
