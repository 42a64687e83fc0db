package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// lockRuntime makes this process the only one with the runtime directory: the
// value of RUNTIME_DIRECTORY, which systemd sets. Without one there is no lock;
// a port that is taken then tells two instances apart. The kernel drops the
// lock when the process ends, however it ends.
func lockRuntime(directories string) (unlock func(), err error) {
	directory, _, _ := strings.Cut(directories, ":")
	if directory == "" {
		return func() {}, nil
	}
	path := filepath.Join(directory, "gin-edged.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		holder := make([]byte, 20)
		n, _ := f.ReadAt(holder, 0)
		pid := strings.TrimSpace(string(holder[:n]))
		if _, err := strconv.Atoi(pid); err != nil {
			pid = "unknown"
		}
		return nil, fmt.Errorf("another gin-edged (pid %s) is running: it holds %s; stop it first", pid, path)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return func() { _ = f.Close() }, nil
}
