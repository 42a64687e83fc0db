package blackbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/tests/service"
)

// processControl runs the daemon on this machine.
type processControl struct {
	service.Process
	directory, binary string
}

func startProcess() (*Target, error) {
	directory, err := os.MkdirTemp("", "gin-edge-")
	if err != nil {
		return nil, err
	}
	p := &processControl{directory: directory}
	if p.binary, err = program.Build(directory); err != nil {
		return nil, errors.Join(err, os.RemoveAll(directory))
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := ln.Addr().String()
	_ = ln.Close()
	p.URL = "http://" + address
	p.Command = func() *exec.Cmd {
		cmd := exec.Command(p.binary, "-config", p.path("base.toml"), "-config", p.path("last.toml"))
		cmd.Env = append(os.Environ(), "HOME="+p.directory, "RUNTIME_DIRECTORY="+p.path("runtime"))
		return cmd
	}
	err = errors.Join(
		os.WriteFile(p.path("base.toml"), fmt.Appendf(nil, "[server]\nlisten = [%q]\n", address), 0o600),
		os.WriteFile(p.path("last.toml"), nil, 0o600),
		os.Mkdir(p.path("runtime"), 0o700))
	if err == nil {
		err = p.Run()
	}
	stop := func() error {
		err := p.Terminate()
		if state, _ := p.Wait(); err == nil && state.ExitCode() != 0 {
			err = fmt.Errorf("exit status %d; its log:\n%s", state.ExitCode(), p.Log.String())
		}
		return errors.Join(err, os.RemoveAll(directory))
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(directory))
	}
	return &Target{kind: "process", url: p.URL, control: p, stop: stop}, nil
}

func (p *processControl) path(name string) string { return filepath.Join(p.directory, name) }

func (p *processControl) writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := p.path("last.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p *processControl) signal(t *testing.T, name string) {
	t.Helper()
	number := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}[name]
	if err := p.Signal(number); err != nil {
		t.Fatalf("SIG%s: %v", name, err)
	}
}

func (p *processControl) beginStop(t *testing.T) {
	t.Helper()
	p.signal(t, "TERM")
}

func (p *processControl) exitStatus(t *testing.T) int {
	t.Helper()
	state, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return state.ExitCode()
}

func (p *processControl) start(t *testing.T) {
	t.Helper()
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
}

func (p *processControl) logged(_ *testing.T, text string) bool {
	return strings.Contains(p.Log.String(), text)
}

func (p *processControl) command(t *testing.T, file string, environment []string, args ...string) (string, int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.toml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, fileArgument, path)
	}
	cmd := exec.CommandContext(t.Context(), p.binary, args...)
	cmd.Env = append(append(os.Environ(), "HOME="+p.directory), environment...)
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(output), path, fileArgument), cmd.ProcessState.ExitCode()
}
