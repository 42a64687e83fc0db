// Package vm starts a guest with scripts/boot or scripts/try and drives a
// shell on its serial line.
package vm

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Guest is a guest that has answered its first request.
type Guest struct {
	URL         string
	FirstAnswer string // the line that tells the seconds
	SerialLog   string
	ConsolePath string
	QMPPath     string

	cmd  *exec.Cmd
	done chan error
	qmp  *QMP
}

// Start runs the script and waits until it has printed the guest's URL. How
// long that may take is the script's own --timeout.
func Start(script string, args ...string) (*Guest, error) {
	g := &Guest{done: make(chan error, 1), cmd: exec.Command(script, args...)}
	g.cmd.Stderr = os.Stderr
	// A guest must not outlive tests that were killed. The signal comes when
	// the thread ends that started the process: the goroutine below keeps it.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	stdout, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	lines := make(chan string)
	go func() {
		runtime.LockOSThread()
		if err := g.cmd.Start(); err != nil {
			close(lines)
			g.done <- err
			return
		}
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			lines <- scanner.Text()
		}
		close(lines)
		g.done <- g.cmd.Wait()
	}()
	for line := range lines {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "serial log":
			g.SerialLog = value
		case "console":
			g.ConsolePath = value
		case "qmp":
			g.QMPPath = value
		case "url":
			g.URL = value
		}
		if strings.HasPrefix(line, "first 200") {
			g.FirstAnswer = line
			go func() {
				for range lines {
				}
			}()
			return g, nil
		}
	}
	if err := <-g.done; err != nil {
		return nil, fmt.Errorf("%s: %w", script, err)
	}
	return nil, fmt.Errorf("%s ended without a guest that answers", script)
}

// Stop powers the guest down. The error says when that was not clean.
func (g *Guest) Stop() error {
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-g.done:
		return err
	case <-time.After(90 * time.Second):
	}
	// A second signal ends the guest at once.
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	<-g.done
	return errors.New("the guest was not powered down within 90 s")
}

// QMP returns the one connection to QEMU's machine protocol.
func (g *Guest) QMP() (*QMP, error) {
	if g.qmp == nil {
		q, err := DialQMP(g.QMPPath)
		if err != nil {
			return nil, err
		}
		g.qmp = q
	}
	return g.qmp, nil
}

// Kill ends QEMU at once, as a loss of power does. What the guest has written
// is in its disk image; see package faults for a disk that loses it, too.
func (g *Guest) Kill() error {
	q, err := g.QMP()
	if err != nil {
		return errors.Join(err, g.Stop())
	}
	// QEMU may be gone before its answer is.
	quitErr := q.Execute("quit", nil, nil)
	_ = q.Close()
	select {
	case <-g.done: // how the script ends is its own affair
		return nil
	case <-time.After(90 * time.Second):
		return errors.Join(errors.New("QEMU did not end within 90 s"), quitErr, g.Stop())
	}
}
