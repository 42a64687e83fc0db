package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestOpenFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	f, err := OpenFile(fifo, os.O_RDONLY, 0) // nobody writes
	if err != nil || time.Since(begin) > 10*time.Second {
		t.Fatalf("%v after %v", err, time.Since(begin))
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now()); !errors.Is(err, os.ErrNoDeadline) {
		t.Errorf("the poller has the file: %v", err)
	}
	if _, err := OpenFile(filepath.Join(dir, "missing"), os.O_RDONLY, 0); !errors.Is(err, os.ErrNotExist) || err.Error() != "open "+dir+"/missing: no such file or directory" {
		t.Error(err)
	}
	made, err := OpenFile(filepath.Join(dir, "new"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	if info, err := made.Stat(); err != nil || info.Mode() != 0o640&^umask() {
		t.Errorf("%v, %v", info, err)
	}
}

func umask() os.FileMode {
	mask := syscall.Umask(0)
	syscall.Umask(mask)
	return os.FileMode(mask)
}

// hangingDisk mounts a file system of one file "f" that answers until the file is
// open, and then no more for half a minute. It is served by a process of its own:
// one that waits for itself could not be ended.
func hangingDisk(t *testing.T) string {
	t.Helper()
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no file system that hangs: %v", err)
	}
	defer fuse.Close()
	dir := t.TempDir()
	if err := syscall.Mount("hang", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd())); err != nil {
		t.Skipf("no file system that hangs: %v", err)
	}
	server := exec.Command(os.Args[0], "-test.run=^TestHangingDiskHoldsUpNoConnection$")
	server.Env = append(os.Environ(), "GIN_EDGE_TEST_CHILD=fuse")
	server.ExtraFiles = []*os.File{fuse}
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		_ = server.Process.Kill() // whoever waits for an answer gets an error
		_ = server.Wait()
	})
	return filepath.Join(dir, "f")
}

// serveHangingDisk speaks FUSE on file descriptor 3
// (https://docs.kernel.org/filesystems/fuse/, include/uapi/linux/fuse.h).
func serveHangingDisk() {
	le := binary.LittleEndian
	request := make([]byte, 64<<10)
	for {
		if _, err := syscall.Read(3, request); err != nil {
			return
		}
		answer := make([]byte, 16, 256)
		opcode := le.Uint32(request[4:])
		attributes := func(node uint64, mode, size uint32) {
			a := make([]byte, 88) // struct fuse_attr
			le.PutUint64(a, node)
			le.PutUint64(a[8:], uint64(size))
			le.PutUint32(a[60:], mode)
			le.PutUint32(a[64:], 1)
			answer = append(answer, a...)
		}
		switch opcode {
		case 26: // INIT: protocol 7.31, writes of up to 4096 bytes
			init := make([]byte, 64)
			le.PutUint32(init, 7)
			le.PutUint32(init[4:], 31)
			le.PutUint32(init[20:], 4096)
			answer = append(answer, init...)
		case 1: // LOOKUP
			entry := make([]byte, 40)
			le.PutUint64(entry, 2)
			answer = append(answer, entry...)
			attributes(2, syscall.S_IFREG|0o644, 100)
		case 3: // GETATTR
			answer = append(answer, make([]byte, 16)...)
			if le.Uint64(request[16:]) == 1 {
				attributes(1, syscall.S_IFDIR|0o755, 0)
			} else {
				attributes(2, syscall.S_IFREG|0o644, 100)
			}
		case 14: // OPEN
			answer = append(answer, make([]byte, 16)...)
		default:
			le.PutUint32(answer[4:], ^uint32(syscall.ENOSYS)+1)
		}
		le.PutUint32(answer, uint32(len(answer)))
		copy(answer[8:16], request[8:16])
		_, _ = syscall.Write(3, answer)
		if opcode == 14 {
			time.Sleep(30 * time.Second)
			return
		}
	}
}

// A medium that hangs holds up who reads from it, and no connection.
func TestHangingDiskHoldsUpNoConnection(t *testing.T) {
	if os.Getenv("GIN_EDGE_TEST_CHILD") == "fuse" {
		serveHangingDisk()
		os.Exit(0)
	}
	path := hangingDisk(t)
	opened := make(chan error, 1)
	go func() {
		f, err := OpenFile(path, os.O_RDONLY, 0)
		opened <- err
		if err == nil {
			_, _ = f.Read(make([]byte, 1))
			_ = f.Close()
		}
	}()
	// What os.OpenFile asks for behind the open never ends.
	select {
	case err := <-opened:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the open does not end")
	}
	served := make(chan error, 1)
	go func() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			served <- err
			return
		}
		defer ln.Close()
		go func() {
			if conn, err := ln.Accept(); err == nil {
				_, _ = conn.Write([]byte("x"))
				_ = conn.Close()
			}
		}()
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err == nil {
			_, err = io.ReadAll(conn)
			_ = conn.Close()
		}
		served <- err
	}()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("no connection of this process is served")
	}
}
