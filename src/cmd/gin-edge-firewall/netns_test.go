package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
)

// The tests of this file load real rules and send real packets.

var everyTool = []string{"iptables", "iptables-restore", "ip6tables", "ip6tables-restore"}

// variants runs the test with each kernel interface that tools may speak.
func variants(t *testing.T, test func(t *testing.T, variant string)) {
	for _, variant := range []string{"legacy", "nft"} {
		t.Run(variant, func(t *testing.T) { test(t, variant) })
	}
}

// product is what an iptables.rules of a product may hold.
const product = `*nat
-A POSTROUTING -s 198.51.100.0/24 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:PRODUCT - [0:0]
-A INPUT -j PRODUCT
-A INPUT -m comment --comment "all else" -j REJECT
-A FORWARD -i br0 -j ACCEPT
-A OUTPUT -p tcp --dport 9 -j DROP
-A PRODUCT -p udp --dport 51820 -j ACCEPT
COMMIT
`

// rules lists the tables of the device: all but the policies and ours.
func (n *network) rules() (others []string, jumps int) {
	n.t.Helper()
	for _, tool := range []string{"iptables", "ip6tables"} {
		for _, table := range []string{"filter", "nat"} {
			for _, line := range strings.Split(n.must(n.device, tool+" -t "+table+" -S"), "\n") {
				switch {
				case strings.HasSuffix(line, "-j GIN-EDGE-INPUT"):
					jumps++
				case strings.HasPrefix(line, "-P ") || strings.Contains(line, "GIN-EDGE-INPUT"):
				default:
					others = append(others, tool+" -t "+table+" "+line)
				}
			}
		}
	}
	return others, jumps
}

// Loaded once, again and after a fault, beside the rules of a product: these
// stay, and packets of both families go where they should.
func TestBesideOthersRules(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		n := newNetwork(t, variant, everyTool...)
		file := filepath.Join(t.TempDir(), "product.rules")
		if err := os.WriteFile(file, []byte(product), 0o600); err != nil {
			t.Fatal(err)
		}
		restore := func() {
			t.Helper()
			n.must(n.device, "iptables-restore <"+file)
			n.must(n.device, "ip6tables-restore <"+strings.Replace(file, ".rules", "6.rules", 1))
		}
		six := strings.Replace(product, "198.51.100.0/24", "2001:db8:1::/64", 1)
		if err := os.WriteFile(strings.Replace(file, ".rules", "6.rules", 1), []byte(six), 0o600); err != nil {
			t.Fatal(err)
		}
		n.serve()
		want := func(when string, networks []string, port int, open bool) {
			t.Helper()
			var asked sync.WaitGroup
			for _, network := range networks {
				asked.Go(func() { n.wantOpen(when, network, port, open) })
			}
			asked.Wait()
		}
		tcp, udp := []string{"tcp4", "tcp6"}, []string{"udp4", "udp6"}
		want("without any rule", append(tcp, udp...), undeclared, true)

		restore()
		before, _ := n.rules()
		if len(before) < 12 {
			t.Fatalf("the product has only %q", before)
		}
		same := func(when string) {
			t.Helper()
			if after, jumps := n.rules(); jumps != 2 || !slices.Equal(after, before) {
				t.Errorf("%s: %d jumps, and of\n%s\nbecame\n%s", when, jumps, strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
		}
		for _, when := range []string{"loaded", "loaded again"} {
			n.must(n.device, "gin_edge_firewall load")
			same(when)
			n.wantState(device.FirewallInForce)
			want(when, tcp, declared, true)
			want(when, append(tcp, udp...), undeclared, false)
			want(when, udp, foreign, true)
			n.must(n.device, "gin_edge_firewall status")
		}

		// A new rate holds from the next load on.
		n.declare(fmt.Sprintf("port tcp %d rate 1\n", declared))
		n.must(n.device, "gin_edge_firewall load")
		for _, network := range tcp {
			begin := time.Now()
			open := n.open(network, declared, 30, 50*time.Millisecond)
			if most := 3 + int(time.Since(begin).Seconds()); open > most {
				t.Errorf("%s: %d of 30 connections at a rate of 1 and a burst of 2, want at most %d", network, open, most)
			}
		}

		// The product's rules loaded anew have removed ours; status finds out.
		restore()
		if out, err := n.try(n.device, "gin_edge_firewall status"); err == nil || !strings.Contains(out, `the policy of INPUT is "ACCEPT"`) {
			t.Errorf("status of a table that was replaced: %v: %s", err, out)
		}
		n.declare(fmt.Sprintf("port tcp %d rate 10000\n", declared))
		n.must(n.device, "gin_edge_firewall load")
		same("loaded after the product's")
		want("loaded after the product's", tcp, declared, true)
		want("loaded after the product's", append(tcp, udp...), undeclared, false)

		n.declare("port tcp none\n")
		if out, err := n.try(n.device, "gin_edge_firewall load"); err == nil || !strings.Contains(out, "IPv4 closed, IPv6 closed: "+n.folder+"/a.conf:1: ") {
			t.Errorf("a broken declaration: %v: %s", err, out)
		}
		n.wantState(device.FirewallClosed)
		same("closed")
		want("closed", append(tcp, udp...), declared, false)
		want("closed", append(tcp, udp...), undeclared, false)
		want("closed, what the product accepts", udp, foreign, true)
	})
}

// At no time of a reload is anything open that should not be, nor closed.
func TestReloadIsAtomic(t *testing.T) {
	variants(t, func(t *testing.T, variant string) {
		n := newNetwork(t, variant, everyTool...)
		n.serve()
		n.must(n.device, "gin_edge_firewall load")
		const questions = 150
		type count struct {
			network    string
			port, open int
		}
		counts := make(chan count)
		asked := []count{{"tcp4", declared, 0}, {"tcp6", declared, 0}, {"tcp4", undeclared, 0}, {"tcp6", undeclared, 0}}
		for _, c := range asked {
			go func() {
				patience := late
				if c.port == undeclared {
					patience = 10 * time.Millisecond
				}
				c.open = n.open(c.network, c.port, questions, patience)
				counts <- c
			}()
		}
		loads := 0
		for ended := 0; ended < len(asked); {
			select {
			case c := <-counts:
				ended++
				want := 0
				if c.port == declared {
					want = questions
				}
				if c.open != want {
					t.Errorf("%s port %d answered %d times of %d", c.network, c.port, c.open, questions)
				}
			default:
				n.must(n.device, "gin_edge_firewall load")
				loads++
			}
		}
		if loads < 3 {
			t.Errorf("only %d loads while the ports were asked", loads)
		}
	})
}

// An image without ip6tables on a kernel with IPv6: IPv4 as declared, IPv6 off,
// and nobody turns it on again.
func TestWithoutIp6tables(t *testing.T) {
	n := newNetwork(t, "legacy", "iptables", "iptables-restore")
	n.serve()
	n.wantOpen("before", "tcp6", undeclared, true)
	const all = "/proc/sys/net/ipv6/conf/"
	// In one line: the mount ends with the namespace of mounts that ip makes.
	out := n.must(n.device, `gin_edge_firewall load
		gin_edge_firewall load
		gin_edge_firewall status
		for i in all eth0 default; do
			if (echo 0 >`+all+`$i/disable_ipv6) 2>/dev/null; then echo "$i is on again"; fi
		done
		ip link add late type veth peer name later
		ip link set late up
		read off <`+all+`late/disable_ipv6 || : # sh reads byte by byte, and a setting has nothing behind the first
		echo "late=$off"
		ip -6 addr show`)
	for _, want := range []string{"IPv6: turned off until the next boot, since there is no ip6tables", "IPv4 in force, IPv6 absent", "state: in-force", "# turned off until the next boot", "late=1", "inet6 ::1/128"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, bad := range []string{"on again", "inet6 fe80", "inet6 2001"} {
		if strings.Contains(out, bad) {
			t.Errorf("%q in\n%s", bad, out)
		}
	}
	n.wantState(device.FirewallInForce)
	n.wantOpen("loaded", "tcp4", declared, true)
	n.wantOpen("loaded", "tcp4", undeclared, false)
	n.wantOpen("loaded", "tcp6", declared, false)
	n.wantOpen("loaded", "tcp6", undeclared, false)
}

// Nothing that filters: the command fails, so that no manager brings a network up.
func TestWithoutIptables(t *testing.T) {
	n := newNetwork(t, "legacy", "iptables")
	if err := os.Remove(filepath.Join(n.tools, "iptables")); err != nil {
		t.Fatal(err)
	}
	out, err := n.try(n.device, "gin_edge_firewall load")
	if err == nil || !strings.Contains(out, "IPv4 not closed, IPv6 absent") {
		t.Errorf("%v: %s", err, out)
	}
	n.wantState(device.FirewallFailed)
}
