package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Listener is one address that a socket unit listens on.
type Listener struct {
	Protocol string     // "tcp" or "udp"
	Addr     netip.Addr // not valid: all addresses of both families
	Port     uint16
}

// Family is an address family with its tools and its rules.
type Family struct {
	Name    string // "IPv4" or "IPv6"
	Restore string // iptables-restore(8) of the family
	Tool    string // iptables(8) of the family
	v6      bool
	icmp    []string
}

// V4 and V6 are the two families. What they open besides the declarations:
// answers to what the device asked, an echo at a bounded rate, and what the
// address configuration needs: DHCPv4 (RFC 2131, port 68), DHCPv6 (RFC 8415,
// port 546), router and neighbour discovery (RFC 4861, types 134 to 136) and
// multicast listener queries (RFC 2710, type 130), these from the link only.
// Errors such as "packet too big" come in as related to a connection.
var (
	V4 = Family{Name: "IPv4", Restore: "iptables-restore", Tool: "iptables", icmp: []string{
		"-p icmp --icmp-type echo-request -m limit --limit 10/second --limit-burst 20",
		"-p udp --sport 67 --dport 68",
	}}
	V6 = Family{Name: "IPv6", Restore: "ip6tables-restore", Tool: "ip6tables", v6: true, icmp: []string{
		"-p ipv6-icmp --icmpv6-type echo-request -m limit --limit 10/second --limit-burst 20",
		"-s fe80::/10 -p ipv6-icmp --icmpv6-type 130",
		"-s fe80::/10 -p ipv6-icmp --icmpv6-type router-advertisement",
		"-p ipv6-icmp --icmpv6-type neighbour-solicitation",
		"-p ipv6-icmp --icmpv6-type neighbour-advertisement",
		"-s fe80::/10 -p udp --sport 547 --dport 546",
	}}
)

// Opening is a declaration with the listeners that it stands for.
type Opening struct {
	Declaration
	Listeners []Listener
}

// ParseShow reads what `systemctl show --property=LoadState --property=Listen`
// printed of a socket unit. Listeners that no packet reaches (unix sockets, the
// loopback addresses) are left out.
func ParseShow(text string) ([]Listener, error) {
	loaded := false
	var listeners []Listener
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "LoadState":
			if value != "loaded" {
				return nil, fmt.Errorf("systemd says %q of the unit: install the package that has it, or take the declaration out", value)
			}
			loaded = true
		case "Listen":
			l, ok, err := parseListen(value)
			if err != nil {
				return nil, err
			}
			if ok {
				listeners = append(listeners, l)
			}
		}
	}
	if !loaded {
		return nil, errors.New("systemd did not say whether it knows the unit")
	}
	return listeners, nil
}

// parseListen reads "ADDRESS (KIND)"; ok is false for what is no port that
// others reach.
func parseListen(value string) (l Listener, ok bool, err error) {
	address, kind, found := strings.Cut(value, " (")
	if !found {
		return l, false, fmt.Errorf("systemd's %q is not ADDRESS (KIND)", value)
	}
	switch kind {
	case "Stream)":
		l.Protocol = "tcp"
	case "Datagram)":
		l.Protocol = "udp"
	default:
		return l, false, nil // a FIFO, a netlink socket and so on
	}
	if !strings.Contains(address, ":") || strings.HasPrefix(address, "/") || strings.HasPrefix(address, "@") || strings.HasPrefix(address, "vsock:") {
		return l, false, nil
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return l, false, fmt.Errorf("systemd's %q is not an address and port", address)
	}
	l.Addr, l.Port = ap.Addr().WithZone(""), ap.Port()
	if l.Addr == netip.IPv6Unspecified() {
		l.Addr = netip.Addr{} // takes IPv4 connections, too: BindIPv6Only=default
	}
	return l, !l.Addr.IsLoopback(), nil
}

// Chain is the chain of INPUT that holds our rules. What it does not accept goes
// on in INPUT, and at its end the policy drops it.
const Chain = "GIN-EDGE-INPUT"

// lastJump sends what no rule of INPUT has decided into our chain.
const lastJump = "-A INPUT -j " + Chain

// Render returns the rules of the family in the format that iptables-restore(8)
// takes with --noflush: policies, our chain, and the jump to it behind all
// other rules of INPUT.
func Render(family Family, openings []Opening) string {
	rules := []string{"-m conntrack --ctstate RELATED,ESTABLISHED"}
	rules = append(rules, family.icmp...)
	for _, o := range openings {
		for _, l := range o.Listeners {
			rules = append(rules, o.rules(family, l)...)
		}
	}
	return renderChain(lastJump, rules)
}

// rules are the matches that open one listener.
func (o Opening) rules(family Family, l Listener) []string {
	if l.Addr.IsValid() && l.Addr.Is6() != family.v6 {
		return nil
	}
	match := ""
	if l.Addr.IsValid() && !l.Addr.IsUnspecified() {
		match = "-d " + l.Addr.String() + " "
	}
	// The kernel counts by the name, and keeps the rate that a name had before a
	// reload: so the rate is part of it, and no name of others is.
	match += fmt.Sprintf("-p %s --dport %d -m conntrack --ctstate NEW -m hashlimit --hashlimit-name gin-edge-%[1]s-%[2]d-%[3]d --hashlimit-mode srcip --hashlimit-upto %[3]d/second --hashlimit-burst %[4]d",
		l.Protocol, l.Port, o.Rate, o.Rate*2)
	if len(o.From) == 0 {
		return []string{match}
	}
	var rules []string
	for _, from := range o.From {
		if from.Addr().Is6() == family.v6 {
			rules = append(rules, "-s "+from.String()+" "+match)
		}
	}
	return rules
}

// renderChain makes of our chain what the matches accept, besides what the
// device sends to itself. A policy drops the rest; other chains, tables and
// rules are left alone, with --noflush. The jump is "" where there is one.
func renderChain(jump string, matches []string) string {
	var b strings.Builder
	b.WriteString("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:" + Chain + " - [0:0]\n")
	for _, match := range append([]string{"-i lo"}, matches...) {
		b.WriteString("-A " + Chain + " " + match + " -j ACCEPT\n")
	}
	if jump != "" {
		b.WriteString(jump + "\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}
