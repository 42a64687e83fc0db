package blackbox

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// processControl runs the daemon on this machine.
type processControl struct {
	directory, binary, address string

	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
	log  logBuffer
}

func startProcess() (*Target, error) {
	version, err := recipeVersion()
	if err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp("", "gin-edge-")
	if err != nil {
		return nil, err
	}
	p := &processControl{directory: directory, binary: filepath.Join(directory, "gin-edged")}
	build := exec.Command("go", "build", "-tags", "nomsgpack", "-trimpath",
		"-ldflags", "-X main.version="+version, "-o", p.binary, "./cmd/gin-edged")
	build.Dir = filepath.Join(root, "src")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("go build: %w\n%s", err, output), os.RemoveAll(directory))
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p.address = ln.Addr().String()
	_ = ln.Close()
	err = errors.Join(
		os.WriteFile(p.path("base.toml"), fmt.Appendf(nil, "[server]\nlisten = [%q]\n", p.address), 0o600),
		os.WriteFile(p.path("last.toml"), nil, 0o600),
		os.Mkdir(p.path("runtime"), 0o700))
	if err == nil {
		err = p.run()
	}
	stop := func() error {
		err := p.terminate()
		if code := p.cmd.ProcessState.ExitCode(); err == nil && code != 0 {
			err = fmt.Errorf("exit status %d; its log:\n%s", code, p.log.String())
		}
		return errors.Join(err, os.RemoveAll(directory))
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(directory))
	}
	return &Target{kind: "process", url: "http://" + p.address, control: p, stop: stop}, nil
}

func (p *processControl) path(name string) string { return filepath.Join(p.directory, name) }

func (p *processControl) environment() []string {
	return append(os.Environ(), "HOME="+p.directory, "RUNTIME_DIRECTORY="+p.path("runtime"))
}

// run starts the daemon and waits for its first answer.
func (p *processControl) run() error {
	cmd := exec.Command(p.binary, "-config", p.path("base.toml"), "-config", p.path("last.toml"))
	cmd.Env = p.environment()
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	done := make(chan struct{})
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(done)
		_ = cmd.Wait() // the status stays in cmd.ProcessState
	}()
	p.cmd, p.done = cmd, done
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-done:
			return fmt.Errorf("the daemon ended at once:\n%s", p.log.String())
		default:
		}
		response, err := client.Get("http://" + p.address + "/livez")
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("no 200 from /livez within 30 s:\n%s", p.log.String()), p.terminate())
}

func (p *processControl) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(40 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		return errors.New("the daemon did not end within 40 s of SIGTERM")
	}
}

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
	if err := p.cmd.Process.Signal(number); err != nil {
		t.Fatalf("SIG%s: %v", name, err)
	}
}

func (p *processControl) beginStop(t *testing.T) {
	t.Helper()
	p.signal(t, "TERM")
}

func (p *processControl) exitStatus(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(40 * time.Second):
		t.Fatal("the daemon did not end within 40 s")
	}
	return -1
}

func (p *processControl) start(t *testing.T) {
	t.Helper()
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
}

func (p *processControl) logged(_ *testing.T, text string) bool {
	return strings.Contains(p.log.String(), text)
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

// logBuffer is written by the daemon while the tests read it.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
