package hostile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fill makes what the kernel makes in a new folder.
func fill(t *testing.T, folder string, files ...string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name, content, _ := strings.Cut(file, "=")
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCgroupFigures(t *testing.T) {
	folder := t.TempDir()
	fill(t, folder, "memory.kmem.tcp.usage_in_bytes=4096\n", "memory.oom_control=oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
	if c := (&cgroup{memory: folder}); c.sockets() != 4096 || c.kills() != 3 {
		t.Errorf("version 1: %d bytes, %d kills", c.sockets(), c.kills())
	}
	folder = t.TempDir()
	fill(t, folder, "memory.stat=anon 1\nsock 8192\nsock_x 1\n", "memory.events=low 0\noom 5\noom_kill 2\noom_group_kill 9\n")
	if c := (&cgroup{memory: folder, v2: true}); c.sockets() != 8192 || c.kills() != 2 {
		t.Errorf("version 2: %d bytes, %d kills", c.sockets(), c.kills())
	}
	if number(filepath.Join(folder, "missing"), "") != 0 {
		t.Error("what is not there is not 0")
	}
	fill(t, folder, "status=Name:\tx\nVmRSS:\t   1234 kB\nThreads:\t7\n")
	if rss, threads := number(folder+"/status", "VmRSS"), number(folder+"/status", "Threads"); rss != 1234 || threads != 7 {
		t.Errorf("%d, %d", rss, threads)
	}
}

func TestOwnCgroup(t *testing.T) {
	const text = "9:name=systemd:/\n8:pids:/\n4:memory:/process_api/78\n0::/x\n"
	for controller, want := range map[string]string{"memory": "/process_api/78", "pids": "/"} {
		if got, found := ownCgroup(text, controller); got != want || !found {
			t.Errorf("%s: %q, %v", controller, got, found)
		}
	}
	if path, found := ownCgroup(text, "cpu"); found {
		t.Errorf("cpu: %q", path)
	}
}

// A limit that the kernel does not have is an error, not a file of ours.
func TestCgroupMissingLimit(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "group")
	c := &cgroup{}
	if err := c.add(folder, map[string]int64{"memory.max": 1}); err == nil {
		t.Error("a limit that is not there was set")
	}
	if _, err := os.Stat(filepath.Join(folder, "memory.max")); err == nil {
		t.Error("a file was made instead of a limit")
	}
}
