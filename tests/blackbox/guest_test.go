package blackbox

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/vm"
)

// What a product may have chosen otherwise, see meta-gin-edge/README.md.
var (
	unitFlag = flag.String("unit", "gin-edged.service", "the `name` of the service's unit in a guest: GIN_EDGE_UNIT")
	dataFlag = flag.String("data", "/data", "the mount `point` of a guest's data partition: GIN_EDGE_DATA_DIR")
	uidFlag  = flag.String("uid", "660", "the `number` of the service's user and group in a guest: GIN_EDGE_UID")
)

const (
	guestFile  = "/run/blackbox.toml"
	runtimeDir = "/run/gin-edge"

	// An emulated guest on a busy machine is slow to boot, to start a shell,
	// and to run a command in it.
	bootTimeout  = "900"
	loginTimeout = 3 * time.Minute
	runTimeout   = 2 * time.Minute
)

// guestControl drives the service with systemctl in a guest.
type guestControl struct{ vm.Shell }

func startGuest(kind, script string, args ...string) (*Target, error) {
	args = append(args, "--timeout", bootTimeout)
	args = append(args, strings.Fields(*bootArgs)...)
	guest, err := vm.Start(filepath.Join(root, script), args...)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%s (serial log: %s)\n", guest.FirstAnswer, guest.SerialLog)
	made := &Target{kind: kind, url: guest.URL, serialLog: guest.SerialLog}
	console, err := vm.Dial(guest.ConsolePath)
	if err != nil {
		return nil, errors.Join(err, guest.Stop())
	}
	made.stop = func() error { return errors.Join(console.Close(), guest.Stop()) }
	err = console.Login(loginTimeout)
	switch {
	case *production && errors.Is(err, vm.ErrNoLogin):
		made.uncontrolled = "a production image lets nobody log in"
	case *production && err == nil:
		return nil, errors.Join(errors.New("a production image let root log in on the serial line"), made.stop())
	case err != nil:
		return nil, errors.Join(err, made.stop())
	default:
		made.control = &guestControl{vm.Shell{Console: console, Limit: runTimeout, Log: guest.SerialLog}}
	}
	return made, nil
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func (g *guestControl) write(t *testing.T, path, text string) {
	t.Helper()
	g.Run(t, "printf %s "+quote(text)+" >"+path)
}

func (g *guestControl) writeConfig(t *testing.T, text string) string {
	t.Helper()
	lastLayer := dataLayer()
	if text == "" {
		g.Run(t, "rm -f "+lastLayer)
		return lastLayer
	}
	g.Run(t, "mkdir -p "+filepath.Dir(lastLayer))
	g.write(t, lastLayer, text)
	return lastLayer
}

func (g *guestControl) signal(t *testing.T, name string) {
	t.Helper()
	g.Run(t, "kill -"+name+" "+strconv.Itoa(g.pid(t)))
}

// pid is the daemon's.
func (g *guestControl) pid(t *testing.T) int {
	t.Helper()
	return int(number(t, g.show(t, "MainPID")))
}

// number is what a command in the guest has printed.
func number(t *testing.T, text string) float64 {
	t.Helper()
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func (g *guestControl) show(t *testing.T, property string) string {
	t.Helper()
	return g.Run(t, "systemctl show -P "+property+" "+*unitFlag)
}

func (g *guestControl) beginStop(t *testing.T) {
	t.Helper()
	g.Run(t, "systemctl stop --no-block "+*unitFlag)
}

func (g *guestControl) exitStatus(t *testing.T) int {
	t.Helper()
	// Waits for the job that beginStop has queued; nothing is left to do then.
	g.Run(t, "systemctl stop "+*unitFlag)
	if result := g.show(t, "Result"); result != "success" {
		t.Errorf("systemd says about the end of %s: %s", *unitFlag, result)
	}
	if code := g.show(t, "ExecMainCode"); code != "1" { // CLD_EXITED
		t.Errorf("ExecMainCode is %s: the daemon did not exit by itself", code)
	}
	return int(number(t, g.show(t, "ExecMainStatus")))
}

func (g *guestControl) start(t *testing.T) {
	t.Helper()
	g.Run(t, "systemctl start "+*unitFlag)
}

func (g *guestControl) logged(t *testing.T, text string) bool {
	t.Helper()
	_, status := g.Try(t, "journalctl -b -q --no-pager -o export -u "+*unitFlag+" | grep -qaF -e "+quote(text))
	return status == 0
}

func (g *guestControl) command(t *testing.T, file string, environment []string, args ...string) (string, int) {
	t.Helper()
	g.write(t, guestFile, file)
	line := "env " + strings.Join(environment, " ") + " gin-edged"
	for _, arg := range args {
		line += " " + quote(strings.ReplaceAll(arg, fileArgument, guestFile))
	}
	output, status := g.Try(t, line)
	return strings.ReplaceAll(output, guestFile, fileArgument), status
}
