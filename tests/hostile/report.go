package hostile

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// row is what an attack has shown.
type row struct {
	Attack      string `json:"attack"`
	Connections int    `json:"connections"`
	Sources     int    `json:"sources"`

	Before sample         `json:"before"`
	Peak   peak           `json:"peak"`
	After  sample         `json:"after"`
	Held   int64          `json:"held"` // connections of the attack, at most, as it sees them
	Opened int64          `json:"opened"`
	Heard  map[string]int `json:"heard"` // by the attack

	Calm    summary       `json:"calm"`      // the honest client before the attack
	Honest  summary       `json:"honest"`    // during it, and the reloads
	Yard    summary       `json:"yardstick"` // the same client at the same time, and a server that is not attacked
	Gap     time.Duration `json:"watchdog_gap_ns"`
	Starved float64       `json:"starved"`        // of a processor: how many times as long the daemon would have run
	Lag     time.Duration `json:"harness_lag_ns"` // by which this machine wakes the harness too late

	Keepers  int   `json:"keep_alive_clients"`
	Reloads  int   `json:"reloads"`
	Reload   *kept `json:"through_reloads,omitempty"`
	Restarts int   `json:"restarts"`
	Restart  *kept `json:"through_restarts,omitempty"`

	Killed string        `json:"killed,omitempty"`
	Back   time.Duration `json:"back_ns"` // goroutines and descriptors are as before
	Memory time.Duration `json:"memory_back_ns,omitempty"`

	Verdict string   `json:"verdict"`
	Faults  []string `json:"faults,omitempty"`
}

var (
	resultsMu      sync.Mutex
	results        []*row
	uncheckedNotes []string
)

// unchecked says loudly that a part of the assertions cannot be made.
func unchecked(format string, args ...any) {
	resultsMu.Lock()
	defer resultsMu.Unlock()
	note := fmt.Sprintf(format, args...)
	if !slices.Contains(uncheckedNotes, note) {
		uncheckedNotes = append(uncheckedNotes, note)
		fmt.Printf("hostile: NOT CHECKED: %s\n", note)
	}
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.0f", float64(bytes)/(1<<20)) }

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/1e6) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }

// column writes lost and all requests, and through how many reloads or restarts.
func (k *kept) column(times int) string {
	if k == nil {
		return "-"
	}
	told := ""
	if k.Others > 0 {
		told = fmt.Sprintf(" (%d not 200)", k.Others)
	}
	return fmt.Sprintf("%d/%d in %d%s", k.lost(), k.Requests, times, told)
}

func printTable(to io.Writer) {
	resultsMu.Lock()
	defer resultsMu.Unlock()
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nattack\tconnections/sources\theld\tRSS MiB\twith sockets\thonest: failed/requests\tp50/p99 ms\tyardstick\twatchdog s\tlost: reloads\trestarts\tback s\tRSS after\tverdict")
	for _, r := range results {
		back := seconds(r.Back)
		if r.Killed != "" {
			back = "killed"
		}
		fmt.Fprintf(w, "%s\t%d/%d\t%d\t%s to %s\t%s\t%d/%d\t%s/%s\t%s/%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Attack, r.Connections, r.Sources, r.Held,
			mebibytes(r.Before.RSS), mebibytes(r.Peak.RSS), mebibytes(r.Peak.Total), r.Honest.Failed, r.Honest.Requests,
			milliseconds(r.Honest.P50), milliseconds(r.Honest.P99), milliseconds(r.Yard.P50), milliseconds(r.Yard.P99), seconds(r.Gap), r.Reload.column(r.Reloads), r.Restart.column(r.Restarts), back, mebibytes(r.After.RSS), r.Verdict)
	}
	_ = w.Flush()
	for _, r := range results {
		for _, fault := range r.Faults {
			fmt.Fprintf(to, "%s: %s\n", r.Attack, strings.TrimSpace(fault))
		}
	}
	for _, note := range uncheckedNotes {
		fmt.Fprintf(to, "NOT CHECKED: %s\n", note)
	}
}

// writeResults leaves the whole table for other programs.
func writeResults(path string) error {
	resultsMu.Lock()
	defer resultsMu.Unlock()
	text, err := json.MarshalIndent(map[string]any{"target": *targetFlag, "set": *setFlag, "not_checked": uncheckedNotes, "rows": results}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Printf("hostile: results: %s\n", path)
	return nil
}
