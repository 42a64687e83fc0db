package storage

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// OpenFile is os.OpenFile for a medium that may hang. Nothing is waited for
// because of what kind of file it is: who opens looks at that before the first
// read.
//
// The runtime's poller is not told of the file, as os.OpenFile would do. On FUSE
// that is a question to the file system, asked with the poller's own lock held:
// as long as there is no answer, no connection of the process is served.
func OpenFile(path string, flags int, mode fs.FileMode) (*os.File, error) {
	for {
		fd, err := syscall.Open(path, flags|syscall.O_CLOEXEC|syscall.O_NONBLOCK|syscall.O_NOCTTY, uint32(mode.Perm()))
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err == nil {
			// os.NewFile gives descriptors that do not block to the poller.
			err = syscall.SetNonblock(fd, false)
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}
