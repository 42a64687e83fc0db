// Package memory tells how much memory this process may use.
package memory

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

// unlimited is GOMEMLIMIT= of gin-edged.service, for a process that nothing
// limits: `gin-edged -check-config` at a terminal finds the sum of the unit.
const (
	unlimited     = 41 << 20
	defaultSource = "the GOMEMLIMIT of gin-edged.service"
)

// Limit returns the smallest of the limits that hold for the process, in bytes,
// and its name: memory.high and memory.max of its control group and of those
// above it (cgroups(7), version 2), which are MemoryHigh= and MemoryMax= of the
// unit, and GOMEMLIMIT. known is false when there is none: then it is that of
// gin-edged.service. They are read once.
func Limit() (bytes int64, source string, known bool) {
	bytes, source = ofProcess()
	return bytes, source, source != defaultSource
}

var ofProcess = sync.OnceValues(func() (int64, string) {
	return limit(os.DirFS("/"), debug.SetMemoryLimit(-1))
})

func limit(root fs.FS, goLimit int64) (bytes int64, source string) {
	bytes, source = math.MaxInt64, ""
	take := func(n int64, name string) {
		if n > 0 && n < bytes {
			bytes, source = n, name
		}
	}
	take(goLimit, "GOMEMLIMIT")
	if group, ok := ownGroup(root); ok {
		for ; group != "/" && group != "."; group = path.Dir(group) {
			for _, file := range []string{"memory.high", "memory.max"} {
				take(number(root, path.Join("sys/fs/cgroup", group, file)), file)
			}
		}
	}
	if source == "" {
		return unlimited, defaultSource
	}
	return bytes, source
}

// ownGroup finds the line of version 2: its hierarchy has the number 0 and no
// controllers.
func ownGroup(root fs.FS) (string, bool) {
	data, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(data)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path.Clean(group), true
		}
	}
	return "", false
}

// number reads a limit; "max", a missing file and nonsense are 0.
func number(root fs.FS, name string) int64 {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
