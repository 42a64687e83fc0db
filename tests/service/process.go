// Package service starts the service under test: as a process of this machine,
// or in a guest.
package service

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startLimit is for the first answer of a process, stopLimit for its end
	// after SIGTERM. Both are above what the unit allows.
	startLimit = 30 * time.Second
	stopLimit  = 40 * time.Second
)

// Version is PV of the checkout root: what the recipes' file names say. What comes from this
// repository has one version.
func Version(root string) (string, error) {
	pattern := filepath.Join(root, "meta-gin-edge/recipes-gin-edge/*/*_*.bb")
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("%s: %d files (%v)", pattern, len(files), err)
	}
	first := ""
	for _, file := range files {
		_, version, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".bb"), "_")
		if first == "" {
			first = version
		}
		if version != first {
			return "", fmt.Errorf("%s: another version than %s, which %s has", file, first, files[0])
		}
	}
	return first, nil
}

// Program is the daemon under test: ours, or a product's in its place.
type Program struct {
	Name, Version string

	module, pkg string
}

// Find returns the daemon of the checkout root, or of the product in a folder as
// scripts/new-product makes it; "" for none.
func Find(root, product string) (Program, error) {
	if product == "" {
		version, err := Version(root)
		return Program{"gin-edged", version, filepath.Join(root, "src"), "./cmd/gin-edged"}, err
	}
	commands, err := os.ReadDir(filepath.Join(product, "src/cmd"))
	if err != nil || len(commands) != 1 {
		return Program{}, fmt.Errorf("%s: %d commands below src/cmd, not one (%w)", product, len(commands), err)
	}
	name := commands[0].Name()
	recipes, err := filepath.Glob(filepath.Join(product, "meta-*/recipes-*/*", name+"_*.bb"))
	if err != nil || len(recipes) != 1 {
		return Program{}, fmt.Errorf("%s: %d recipes of %s (%w)", product, len(recipes), name, err)
	}
	_, version, _ := strings.Cut(strings.TrimSuffix(filepath.Base(recipes[0]), ".bb"), "_")
	return Program{name, version, filepath.Join(product, "src"), "./cmd/" + name}, nil
}

// Build returns the path of the binary, which is in the folder.
func (p Program) Build(folder string) (string, error) {
	binary := filepath.Join(folder, p.Name)
	build := exec.Command("go", "build", "-tags", "nomsgpack", "-trimpath",
		"-ldflags", "-X github.com/meta-gin-edge/meta-gin-edge/src/edged.version="+p.Version, "-o", binary, p.pkg)
	build.Dir = p.module
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return binary, nil
}

// Build builds the daemon of the checkout root and returns the path of the
// binary, which is in the folder.
func Build(root, folder string) (string, error) {
	program, err := Find(root, "")
	if err != nil {
		return "", err
	}
	return program.Build(folder)
}

// Process is the daemon on this machine. It may run more than once.
type Process struct {
	Command func() *exec.Cmd // of the next run; its output goes to Log
	URL     string           // of the service
	Log     Log

	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// client makes a connection of its own for each request: a process that was
// ended does not know the old ones.
var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

// Run starts the daemon and waits for its first 200 from /livez.
func (p *Process) Run() error {
	cmd := p.Command()
	cmd.Stdout, cmd.Stderr = &p.Log, &p.Log
	done := make(chan struct{})
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(done)
		_ = cmd.Wait() // the status stays in cmd.ProcessState
	}()
	p.cmd, p.done = cmd, done
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-done:
			return fmt.Errorf("the daemon ended at once:\n%s", p.Log.String())
		default:
		}
		response, err := client.Get(p.URL + "/livez")
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("no 200 from /livez within %v:\n%s", startLimit, p.Log.String()), p.Terminate())
}

// Signal sends it to the daemon.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// PID is the daemon's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the daemon has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the daemon, and kills it when that does not come.
func (p *Process) Wait() (*os.ProcessState, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState, nil
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill()
		<-p.done
		return p.cmd.ProcessState, fmt.Errorf("the daemon did not end within %v of SIGTERM", stopLimit)
	}
}

// Terminate sends SIGTERM and waits. A daemon that has ended already is no
// error; its exit status is that of Wait.
func (p *Process) Terminate() error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_, err := p.Wait()
	return err
}

// Log is written by the daemon while the tests read it.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends p; it cannot fail.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
