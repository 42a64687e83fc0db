// Command gin-edge-firewall loads the packet filter of the device.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/firewall"
)

const usage = `Usage: gin-edge-firewall load|print

  load    put the rules into force, each address family at once; when that
          fails, drop everything that comes in and exit 1; what became of it is
          left in /run/gin-edge-firewall for the service to tell
  print   show the rules and load nothing

Everything that comes in is dropped but answers, a few kinds of ICMP, address
configuration, and what declarations open: NAME.conf in these folders, where a
file in a later one replaces the file of the same name (an empty one closes
what that opened):
  /usr/lib/gin-edge/firewall.d
  /etc/gin-edge/firewall.d

A line is one declaration; # begins a comment:
  socket UNIT [from NETWORK...] [rate N]
      the ports that the systemd socket unit listens on
  port tcp|udp PORT [from NETWORK...] [rate N]
      a port of a program that has no socket unit

  from    source networks that may reach it, like 192.168.0.0/16 fd00::/8
          (default: all)
  rate    new connections that one source may open in a second, 1 to 10000,
          twice that in a burst (default: 100)
`

// timeout is for all commands together; each takes a fraction of a second.
const timeout = 30 * time.Second

var folders = []string{"/usr/lib/gin-edge/firewall.d", "/etc/gin-edge/firewall.d"}

func main() {
	os.Exit(run(os.Args[1:], folders, "/"+device.FirewallFile, firewall.Command, os.Stdout, os.Stderr))
}

func run(args, folders []string, state string, runner firewall.Runner, stdout, stderr io.Writer) int {
	verb := ""
	if len(args) == 1 {
		verb = args[0]
	}
	switch verb {
	case "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	case "load", "print":
	default:
		fmt.Fprint(stderr, usage)
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	declarations, err := firewall.Load(folders...)
	var openings []firewall.Opening
	if err == nil {
		openings, err = firewall.Resolve(ctx, runner, declarations)
	}
	if verb == "print" && err == nil {
		for _, family := range []firewall.Family{firewall.V4, firewall.V6} {
			fmt.Fprintf(stdout, "# %s\n%s", family.Name, firewall.Render(family, openings))
		}
		return 0
	}
	if verb == "load" {
		became := device.Firewall{State: device.FirewallInForce}
		if err == nil {
			err = firewall.Apply(ctx, runner, openings)
		}
		if err != nil {
			became = device.Firewall{State: device.FirewallClosed, Detail: err.Error()}
			if closeErr := firewall.Close(ctx, runner); closeErr != nil {
				err = fmt.Errorf("%w; %w", err, closeErr)
				became = device.Firewall{State: device.FirewallFailed, Detail: err.Error()}
			}
		}
		if writeErr := became.Write(state); writeErr != nil {
			fmt.Fprintf(stderr, "gin-edge-firewall: the state cannot be told: %v\n", writeErr)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "gin-edge-firewall: %v\n", err)
		return 1
	}
	fmt.Fprintf(stdout, "gin-edge-firewall: in force: %d declarations, all else is dropped\n", len(declarations))
	return 0
}
