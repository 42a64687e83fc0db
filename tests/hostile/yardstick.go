package hostile

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// yardstickVariable tells a process of this binary to be the yardstick: a server
// that nobody attacks, and that the honest client asks in the same way at the
// same time. How long its answers take says what this machine and the harness add
// to the times of the service.
const yardstickVariable = "GIN_EDGE_HOSTILE_YARDSTICK"

// beYardstick serves on the socket that it was started with.
func beYardstick() error {
	ln, err := net.FileListener(os.NewFile(3, "yardstick"))
	if err != nil {
		return err
	}
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("{}"))
	}))
}

// startYardstick returns its address.
func startYardstick() (address string, stop func(), err error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(serviceAddress.String(), "0"))
	if err != nil {
		return "", nil, err
	}
	file, err := ln.(*net.TCPListener).File()
	if err = errors.Join(err, ln.Close()); err != nil {
		return "", nil, err
	}
	defer file.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), yardstickVariable+"=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	address = ln.Addr().String()
	client := place{service: address}.client(false)
	for deadline := time.Now().Add(answerLimit); ; time.Sleep(20 * time.Millisecond) {
		answer, err := client.Get("http://" + address + "/")
		if err == nil {
			return address, stop, answer.Body.Close()
		}
		if time.Now().After(deadline) {
			stop()
			return "", nil, fmt.Errorf("the yardstick does not answer: %w", err)
		}
	}
}
