package memory

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestLimit(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	unit := func(high, most, slice string) fstest.MapFS {
		return fstest.MapFS{
			"proc/self/cgroup": file("9:name=systemd:/x\n0::/system.slice/gin-edged.service\n"),
			"sys/fs/cgroup/system.slice/gin-edged.service/memory.high": file(high + "\n"),
			"sys/fs/cgroup/system.slice/gin-edged.service/memory.max":  file(most + "\n"),
			"sys/fs/cgroup/system.slice/memory.max":                    file(slice + "\n"),
			"sys/fs/cgroup/memory.max":                                 file("1\n"), // the root has none; not looked at
		}
	}
	for name, tc := range map[string]struct {
		root   fstest.MapFS
		goMax  int64
		want   int64
		source string
	}{
		"the unit":          {unit("50331648", "67108864", "max"), 41 << 20, 41 << 20, "GOMEMLIMIT"},
		"without Go's":      {unit("50331648", "67108864", "max"), math.MaxInt64, 48 << 20, "memory.high"},
		"a drop-in":         {unit("max", "33554432", "max"), 41 << 20, 32 << 20, "memory.max"},
		"a slice":           {unit("max", "max", "20971520"), 41 << 20, 20 << 20, "memory.max"},
		"nothing":           {unit("max", "max", "max"), math.MaxInt64, unlimited, defaultSource},
		"nonsense":          {unit("-5", "x", ""), math.MaxInt64, unlimited, defaultSource},
		"version 1":         {fstest.MapFS{"proc/self/cgroup": file("4:memory:/x\n")}, math.MaxInt64, unlimited, defaultSource},
		"a machine without": {fstest.MapFS{}, 100, 100, "GOMEMLIMIT"},
	} {
		if got, source := limit(tc.root, tc.goMax); got != tc.want || source != tc.source {
			t.Errorf("%s: %d of %s, want %d of %s", name, got, source, tc.want, tc.source)
		}
	}
	if n, source, known := Limit(); n <= 0 || source == "" || known == (source == defaultSource) {
		t.Errorf("of this process: %d, %q", n, source)
	}
}
