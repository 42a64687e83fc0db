package hostile

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// unit is what the service's unit file allows it.
type unit struct {
	memoryHigh, memoryMax int64 // bytes
	tasksMax, files       int
	watchdog, stop        time.Duration
	environment           []string
}

var sizePattern = regexp.MustCompile(`^([0-9]+)([KMG]?)$`)

// readUnit reads a unit file. A key that is missing, or whose value it cannot
// read, is an error: limits that are not known are not kept.
func readUnit(path string) (*unit, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseUnit(path, string(text))
}

func parseUnit(path, text string) (*unit, error) {
	var u unit
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, found := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case !found || strings.HasPrefix(key, "#"):
		case key == "Environment":
			u.environment = append(u.environment, value)
		default:
			values[key] = value
		}
	}
	var failed error
	read := func(key string, into func(string) error) {
		value, found := values[key]
		err := fmt.Errorf("missing")
		if found {
			err = into(value)
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %s=%s: %w", path, key, value, err)
		}
	}
	size := func(to *int64) func(string) error {
		return func(value string) (err error) { *to, err = parseSize(value); return err }
	}
	count := func(to *int) func(string) error {
		return func(value string) (err error) { *to, err = strconv.Atoi(value); return err }
	}
	span := func(to *time.Duration) func(string) error {
		return func(value string) (err error) { *to, err = time.ParseDuration(value); return err }
	}
	read("MemoryHigh", size(&u.memoryHigh))
	read("MemoryMax", size(&u.memoryMax))
	read("TasksMax", count(&u.tasksMax))
	read("LimitNOFILE", count(&u.files))
	read("WatchdogSec", span(&u.watchdog))
	read("TimeoutStopSec", span(&u.stop))
	return &u, failed
}

// parseSize reads a number of bytes as systemd writes it: 48M is 48 MiB.
func parseSize(text string) (int64, error) {
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("not a number with K, M or G")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	return n << map[string]uint{"": 0, "K": 10, "M": 20, "G": 30}[m[2]], err
}
