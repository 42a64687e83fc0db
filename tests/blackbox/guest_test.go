package blackbox

import (
	"errors"
	"flag"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/tests/service"
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
)

// guestControl drives the service with systemctl in a guest.
type guestControl struct{ *service.Guest }

func startGuest(kind, script string, args ...string) (*Target, error) {
	guest, err := service.StartGuest(filepath.Join(root, script), append(args, strings.Fields(*bootArgs)...)...)
	if guest == nil {
		return nil, err
	}
	guest.Unit, guest.Data = *unitFlag, *dataFlag
	made := &Target{kind: kind, url: guest.VM.URL, serialLog: guest.VM.SerialLog, stop: guest.Stop}
	switch {
	case *production && errors.Is(err, vm.ErrNoLogin):
		made.uncontrolled = "a production image lets nobody log in"
	case *production && err == nil:
		return nil, errors.Join(errors.New("a production image let root log in on the serial line"), made.stop())
	case err != nil:
		return nil, errors.Join(err, made.stop())
	default:
		made.control = &guestControl{guest}
	}
	return made, nil
}

func (g *guestControl) writeConfig(t *testing.T, text string) string {
	t.Helper()
	return g.WriteConfig(t, text)
}

func (g *guestControl) signal(t *testing.T, name string) {
	t.Helper()
	g.Run(t, "kill -"+name+" "+strconv.Itoa(g.PID(t)))
}

func (g *guestControl) beginStop(t *testing.T) {
	t.Helper()
	g.Run(t, "systemctl stop --no-block "+*unitFlag)
}

func (g *guestControl) exitStatus(t *testing.T) int {
	t.Helper()
	// Waits for the job that beginStop has queued; nothing is left to do then.
	g.Run(t, "systemctl stop "+*unitFlag)
	if result := g.Show(t, "Result"); result != "success" {
		t.Errorf("systemd says about the end of %s: %s", *unitFlag, result)
	}
	if code := g.Show(t, "ExecMainCode"); code != "1" { // CLD_EXITED
		t.Errorf("ExecMainCode is %s: the daemon did not exit by itself", code)
	}
	return int(service.Number(t, g.Show(t, "ExecMainStatus")))
}

func (g *guestControl) start(t *testing.T) {
	t.Helper()
	g.Run(t, "systemctl start "+*unitFlag)
}

func (g *guestControl) logged(t *testing.T, text string) bool {
	t.Helper()
	_, status := g.Try(t, "journalctl -b -q --no-pager -o export -u "+*unitFlag+" | grep -qaF -e "+service.Quote(text))
	return status == 0
}

// port asks systemd: a product may have chosen another one (GIN_EDGE_PORT).
func (g *guestControl) port(t *testing.T) string {
	t.Helper()
	listen := g.Run(t, "systemctl show -P Listen $(systemctl show -P TriggeredBy "+*unitFlag+")")
	address, _, _ := strings.Cut(listen, " ") // [::]:80 (Stream)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatalf("the socket of %s: %q: %v", *unitFlag, listen, err)
	}
	return port
}

func (g *guestControl) command(t *testing.T, file string, environment []string, args ...string) (string, int) {
	t.Helper()
	g.Write(t, guestFile, file)
	line := "env " + strings.Join(environment, " ") + " gin-edged"
	for _, arg := range args {
		line += " " + service.Quote(strings.ReplaceAll(arg, fileArgument, guestFile))
	}
	output, status := g.Try(t, line)
	return strings.ReplaceAll(output, guestFile, fileArgument), status
}
