package service

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/vm"
)

const (
	// An emulated guest on a busy machine is slow to boot, to start a shell,
	// and to run a command in it.
	bootTimeout  = "900"
	loginTimeout = 5 * time.Minute
	runTimeout   = 5 * time.Minute
)

// Guest is a guest with a shell on its serial line.
type Guest struct {
	vm.Shell
	VM   *vm.Guest
	Unit string // of the daemon; a product may have named it otherwise
	Data string // where its data partition is mounted
}

// StartGuest runs the script (scripts/boot or scripts/try), waits for the first
// 200 and logs in. Where the image lets nobody log in, it returns the guest and
// vm.ErrNoLogin; with any other error no guest is left.
func StartGuest(script string, args ...string) (*Guest, error) {
	guest, err := vm.Start(script, append([]string{"--timeout", bootTimeout}, args...)...)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%s (serial log: %s)\n", guest.FirstAnswer, guest.SerialLog)
	g := &Guest{VM: guest, Unit: "gin-edged.service", Data: "/data", Shell: vm.Shell{Limit: runTimeout, Log: guest.SerialLog}}
	if g.Console, err = vm.Dial(guest.ConsolePath); err != nil {
		return nil, errors.Join(err, guest.Stop())
	}
	if err := g.Console.Login(loginTimeout); err != nil {
		if errors.Is(err, vm.ErrNoLogin) {
			return g, err
		}
		return nil, errors.Join(err, g.Stop())
	}
	return g, nil
}

// Stop powers the guest down. The error says when that was not clean.
func (g *Guest) Stop() error { return errors.Join(g.Console.Close(), g.VM.Stop()) }

// Quote makes one word of the shell of a text.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// Write makes a file in the guest.
func (g *Guest) Write(t testing.TB, file, text string) {
	t.Helper()
	g.Run(t, "printf %s "+Quote(text)+" >"+file)
}

// LastLayer is the path of the last layer of the configuration, which an operator
// of the device may write, on a data partition that is mounted there.
func LastLayer(data string) string { return path.Join(data, "gin-edge/gin-edged.toml") }

// WriteConfig replaces the last layer and returns its path; an empty text
// removes it.
func (g *Guest) WriteConfig(t testing.TB, text string) string {
	t.Helper()
	file := LastLayer(g.Data)
	if text == "" {
		g.Run(t, "rm -f "+file)
		return file
	}
	g.Run(t, "mkdir -p "+path.Dir(file))
	g.Write(t, file, text)
	return file
}

// Show returns a property of the daemon's unit.
func (g *Guest) Show(t testing.TB, property string) string {
	t.Helper()
	return g.Run(t, "systemctl show -P "+property+" "+g.Unit)
}

// Number is what a command in the guest has printed.
func Number(t testing.TB, text string) float64 {
	t.Helper()
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// PID is the daemon's.
func (g *Guest) PID(t testing.TB) int {
	t.Helper()
	return int(Number(t, g.Show(t, "MainPID")))
}
