package hostile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cgroup confines the daemon as its unit does. Version 1 has no MemoryHigh=,
// and counts what sockets hold apart.
type cgroup struct {
	folders []string // a process is put into each
	memory  string   // the one that counts memory
	v2      bool
}

// makeCgroup makes the folders below root (/sys/fs/cgroup), where this process
// stands now.
func makeCgroup(root, self, name string, u *unit) (*cgroup, error) {
	text, err := os.ReadFile(self)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return makeCgroup2(root, name, u)
	}
	c := &cgroup{}
	for controller, files := range map[string]map[string]int64{
		"memory": {"memory.limit_in_bytes": u.memoryMax, "memory.kmem.tcp.limit_in_bytes": u.memoryMax},
		"pids":   {"pids.max": int64(u.tasksMax)},
	} {
		path, found := ownCgroup(string(text), controller)
		if !found {
			return nil, errors.Join(fmt.Errorf("%s: no controller %s", self, controller), c.remove())
		}
		folder := filepath.Join(root, controller, path, name)
		if err := c.add(folder, files); err != nil {
			return nil, errors.Join(err, c.remove())
		}
		if controller == "memory" {
			c.memory = folder
		}
	}
	return c, nil
}

// makeCgroup2 makes one folder at the root: a group that has processes itself
// must not pass controllers on.
func makeCgroup2(root, name string, u *unit) (*cgroup, error) {
	c := &cgroup{memory: filepath.Join(root, name), v2: true}
	err := c.add(c.memory, map[string]int64{
		"memory.high": u.memoryHigh, "memory.max": u.memoryMax, "memory.swap.max": 0, "pids.max": int64(u.tasksMax),
	})
	if err != nil {
		return nil, errors.Join(err, c.remove())
	}
	return c, nil
}

// ownCgroup finds the path of a controller of version 1 in /proc/self/cgroup.
func ownCgroup(text, controller string) (string, bool) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && fields[1] == controller {
			return fields[2], true
		}
	}
	return "", false
}

func (c *cgroup) add(folder string, files map[string]int64) error {
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	c.folders = append(c.folders, folder)
	for name, value := range files {
		path := filepath.Join(folder, name)
		// Not WriteFile: what the kernel does not have must not be made.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if errors.Is(err, os.ErrNotExist) && name == "memory.swap.max" {
			continue // a kernel without swap
		}
		if err != nil {
			return err
		}
		_, err = f.WriteString(strconv.FormatInt(value, 10))
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// remove waits until the kernel has let the last process go.
func (c *cgroup) remove() error {
	var errs []error
	for _, folder := range c.folders {
		err := os.Remove(folder)
		for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); err = os.Remove(folder) {
			time.Sleep(20 * time.Millisecond)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// sockets is what the kernel holds for the daemon's sockets, in bytes: answers
// that nobody reads.
func (c *cgroup) sockets() int64 {
	if !c.v2 {
		return number(filepath.Join(c.memory, "memory.kmem.tcp.usage_in_bytes"), "")
	}
	return number(filepath.Join(c.memory, "memory.stat"), "sock")
}

// kills counts the processes that were ended at MemoryMax.
func (c *cgroup) kills() int64 {
	if !c.v2 {
		return number(filepath.Join(c.memory, "memory.oom_control"), "oom_kill")
	}
	return number(filepath.Join(c.memory, "memory.events"), "oom_kill")
}

// number reads a file of one number, or of lines of a key and a number. What is
// not there is 0.
func number(path, key string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if key == "" && len(fields) == 1 || len(fields) >= 2 && strings.TrimSuffix(fields[0], ":") == key {
			n, _ := strconv.ParseInt(fields[min(1, len(fields)-1)], 10, 64)
			return n
		}
	}
	return 0
}
