// Command gin-edge-firewall loads the packet filter of the device.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/firewall"
)

const usage = `Usage: gin-edge-firewall load|status|print

  load    put the rules into force, those of an address family at once; a family
          whose rules are refused is closed: all that comes in over it is
          dropped; what became of it is left in /run/gin-edge-firewall for the
          service to tell. Exit status 1: no family is in force, or one could
          not even be closed
  status  what became of the last load, and the kernel's rules with their
          counters. Exit status 1: they are not, or no longer, as declared
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

Beside other rules: the policies of INPUT and FORWARD become DROP, and the rules
stand in the chain GIN-EDGE-INPUT; rules and tables of others stay as they are,
at each load; what they accept is open, and stays so when a family is closed.
INPUT leads to the chain behind its other rules, but before one that refuses
everything; a rule that leads there already stays where it is. Who replaces the
whole table (iptables-restore without --noflush) has to load again: systemctl
reload gin-edge-firewall.

IPv6: left out when the kernel does not have it (ipv6.disable=1). When it does
and there is no ip6tables, or its table is refused, IPv6 is turned off until the
next boot (net.ipv6.conf.all.disable_ipv6, made read-only), but for the loopback
interface.
`

// timeout is for the questions to systemd; each takes a fraction of a second.
const timeout = 30 * time.Second

var folders = []string{"/usr/lib/gin-edge/firewall.d", "/etc/gin-edge/firewall.d"}

func main() {
	os.Exit(run(os.Args[1:], folders, "/"+device.FirewallFile, firewall.ThisHost, os.Stdout, os.Stderr))
}

func run(args, folders []string, state string, host firewall.Host, stdout, stderr io.Writer) int {
	verb := ""
	if len(args) == 1 {
		verb = args[0]
	}
	switch verb {
	case "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	case "load", "status", "print":
	default:
		fmt.Fprint(stderr, usage)
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	declarations, err := firewall.Load(folders...)
	var openings []firewall.Opening
	if err == nil {
		openings, err = firewall.Resolve(ctx, host.Run, declarations)
	}
	if verb == "load" {
		return load(openings, err, state, host, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "gin-edge-firewall: %v\n", err)
		return 1
	}
	if verb == "status" {
		return status(openings, state, host, stdout, stderr)
	}
	for _, family := range firewall.Families {
		fmt.Fprintf(stdout, "# %s\n%s", family.Name, firewall.Render(family, openings))
	}
	return 0
}

// load enforces the rules and leaves word of it. The reason says why there are
// no openings.
func load(openings []firewall.Opening, reason error, state string, host firewall.Host, stdout, stderr io.Writer) int {
	became := device.Firewall{State: device.FirewallInForce}
	var fates, details []string
	code := 1
	for _, r := range firewall.Enforce(host, openings, reason) {
		fates = append(fates, r.Family.Name+" "+string(r.Fate))
		switch r.Fate {
		case firewall.InForce:
			code = 0
		case firewall.Absent:
			fmt.Fprintf(stdout, "gin-edge-firewall: %s: %v\n", r.Family.Name, r.Err)
			continue
		case firewall.Closed:
			if became.State == device.FirewallInForce {
				became.State = device.FirewallClosed
			}
		default:
			became.State = device.FirewallFailed
		}
		if r.Err != nil && !slices.Contains(details, r.Err.Error()) {
			details = append(details, r.Err.Error())
		}
	}
	became.Detail = strings.Join(details, "; ")
	if err := became.Write(state); err != nil {
		fmt.Fprintf(stderr, "gin-edge-firewall: the state cannot be told: %v\n", err)
	}
	if became.State == device.FirewallInForce {
		fmt.Fprintf(stdout, "gin-edge-firewall: %s; open: %d declarations\n", strings.Join(fates, ", "), len(openings))
		return 0
	}
	fmt.Fprintf(stderr, "gin-edge-firewall: %s: %s\n", strings.Join(fates, ", "), became.Detail)
	if became.State == device.FirewallFailed {
		return 1
	}
	return code
}

// status tells how the packet filter is now.
func status(openings []firewall.Opening, state string, host firewall.Host, stdout, stderr io.Writer) int {
	became := device.Firewall{State: device.FirewallNone, Detail: "not loaded since the boot"}
	data, err := os.ReadFile(state)
	if err == nil {
		became, err = device.ParseFirewall(data)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(stderr, "gin-edge-firewall: %s: %v\n", state, err)
		return 1
	}
	fmt.Fprintf(stdout, "state: %s\n", became.State)
	if became.Detail != "" {
		fmt.Fprintf(stdout, "detail: %s\n", became.Detail)
	}
	code := 0
	if became.State != device.FirewallInForce {
		code = 1
	}
	for _, family := range firewall.Families {
		rules, err := firewall.Show(host, family, openings)
		fmt.Fprintf(stdout, "# %s\n%s", family.Name, rules)
		if err != nil {
			fmt.Fprintf(stderr, "gin-edge-firewall: %s: %v\n", family.Name, err)
			code = 1
		}
	}
	return code
}
