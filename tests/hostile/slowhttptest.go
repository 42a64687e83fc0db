package hostile

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// slowTest is one mode of slowhttptest: a second opinion on the slow attacks.
// It comes from one address.
type slowTest struct {
	mode, path string
	args       []string
}

// slowResult is what slowhttptest has counted.
type slowResult struct {
	seconds, available int // the service answered a probe, which comes from the attacker's address
	connected, closed  int // connections at a time, and all that the service has closed
}

// run lets slowhttptest attack until ctx ends, and then ends it as Ctrl-C does:
// it writes its statistics.
func (s slowTest) run(ctx context.Context, url string) (slowResult, error) {
	prefix := filepath.Join(folder, "slowhttptest"+s.mode)
	args := append([]string{s.mode, "-c", "600", "-r", "300", "-l", "600", "-p", "3", "-v", "0", "-g", "-o", prefix, "-u", url + s.path}, s.args...)
	cmd := exec.Command("slowhttptest", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return slowResult{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
		// It ends by itself when the service has closed everything.
	case <-ctx.Done():
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case err = <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			err = errors.Join(errors.New("it did not end within 20 s of SIGINT"), <-ended)
		}
	}
	if err != nil {
		return slowResult{}, err
	}
	text, err := os.ReadFile(prefix + ".csv")
	if err != nil {
		return slowResult{}, err
	}
	return parseSlow(string(text))
}

// parseSlow reads the statistics: seconds, closed, pending, connected, and
// whether the service was available, a line each second.
func parseSlow(text string) (slowResult, error) {
	var r slowResult
	reader := csv.NewReader(strings.NewReader(text))
	reader.TrimLeadingSpace = true
	lines, err := reader.ReadAll()
	if err != nil {
		return r, err
	}
	if len(lines) < 2 || len(lines[0]) != 5 {
		return r, fmt.Errorf("not the statistics of slowhttptest: %q", text)
	}
	for _, line := range lines[1:] {
		var values [5]int
		for n := range values {
			if values[n], err = strconv.Atoi(line[n]); err != nil {
				return r, err
			}
		}
		r.seconds, r.closed, r.connected = max(r.seconds, values[0]), max(r.closed, values[1]), max(r.connected, values[3])
		if values[4] > 0 {
			r.available++
		}
	}
	return r, nil
}
