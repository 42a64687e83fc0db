// Package firewall makes the packet filter out of declarations: what no
// declaration opens is dropped.
package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultRate = 100
	// maxRate is the limit of hashlimit's --hashlimit-upto in seconds.
	maxRate = 10000
)

// Declaration opens the ports of a socket unit, or one port of a program that
// has no such unit.
type Declaration struct {
	Origin   string // file and line
	Unit     string // a socket unit; "" when Protocol and Port are given
	Protocol string // "tcp" or "udp"
	Port     uint16
	From     []netip.Prefix // sources that may reach it; empty: all
	Rate     int            // new connections a source may open in a second
}

// Load reads NAME.conf of each folder. A file in a later folder replaces the
// one of the same name: an empty one closes what that opened. A folder that is
// missing counts as empty. The error names file and line.
func Load(folders ...string) ([]Declaration, error) {
	files := map[string]string{}
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(folder, "*.conf"))
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", folder, err)
		}
		for _, path := range found {
			files[filepath.Base(path)] = path
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var all []Declaration
	for _, name := range names {
		text, err := os.ReadFile(files[name])
		if err != nil {
			return nil, fmt.Errorf("read a declaration: %w", err)
		}
		declarations, err := Parse(files[name], string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, declarations...)
	}
	return all, nil
}

// Parse reads the declarations in text. The error names file and line.
func Parse(file, text string) ([]Declaration, error) {
	var declarations []Declaration
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		origin := fmt.Sprintf("%s:%d", file, number)
		d, err := parseLine(words)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", origin, err)
		}
		d.Origin = origin
		declarations = append(declarations, d)
	}
	return declarations, nil
}

func parseLine(words []string) (Declaration, error) {
	d := Declaration{Rate: defaultRate}
	keyword, rest := words[0], words[1:]
	switch keyword {
	case "socket":
		if len(rest) < 1 || !validUnit(rest[0]) {
			return d, errors.New(`"socket" is followed by the name of a socket unit, like gin-edged-http.socket`)
		}
		d.Unit, rest = rest[0], rest[1:]
	case "port":
		if len(rest) < 2 || rest[0] != "tcp" && rest[0] != "udp" {
			return d, errors.New(`"port" is followed by tcp or udp and a port`)
		}
		port, err := strconv.ParseUint(rest[1], 10, 16)
		if err != nil || port == 0 {
			return d, fmt.Errorf("%q is not a port: 1 to 65535", rest[1])
		}
		d.Protocol, d.Port, rest = rest[0], uint16(port), rest[2:]
	default:
		return d, fmt.Errorf("%q is not a declaration: socket or port", keyword)
	}
	err := parseOptions(&d, rest)
	return d, err
}

// option may stand behind the port of a declaration: its name, and words up to
// the next name.
type option struct {
	name string
	most int // how many words it takes; 0: any number
	read func(d *Declaration, words []string) error
}

var options = []option{
	{"from", 0, readFrom},
	{"rate", 1, readRate},
}

func optionNamed(word string) (option, bool) {
	i := slices.IndexFunc(options, func(o option) bool { return o.name == word })
	if i < 0 {
		return option{}, false
	}
	return options[i], true
}

func parseOptions(d *Declaration, words []string) error {
	for len(words) > 0 {
		o, ok := optionNamed(words[0])
		if !ok {
			names := make([]string, 0, len(options))
			for _, o := range options {
				names = append(names, o.name)
			}
			return fmt.Errorf("%q is not expected here: %s", words[0], strings.Join(names, " or "))
		}
		words = words[1:]
		n := 0
		for n < len(words) && (o.most == 0 || n < o.most) {
			if _, next := optionNamed(words[n]); next {
				break
			}
			n++
		}
		if err := o.read(d, words[:n]); err != nil {
			return err
		}
		words = words[n:]
	}
	return nil
}

func readFrom(d *Declaration, words []string) error {
	if len(words) == 0 {
		return errors.New(`"from" is followed by networks, like 192.168.0.0/16 fd00::/8`)
	}
	for _, word := range words {
		prefix, err := parseNetwork(word)
		if err != nil {
			return err
		}
		d.From = append(d.From, prefix)
	}
	return nil
}

func readRate(d *Declaration, words []string) error {
	if len(words) == 0 {
		return errors.New(`"rate" is followed by a number of connections in a second`)
	}
	rate, err := strconv.Atoi(words[0])
	if err != nil || rate < 1 || rate > maxRate {
		return fmt.Errorf("rate %q is not a number of connections in a second, 1 to %d", words[0], maxRate)
	}
	d.Rate = rate
	return nil
}

func parseNetwork(word string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(word)
	if err != nil {
		var addr netip.Addr
		if addr, err = netip.ParseAddr(word); err == nil && addr.Zone() == "" {
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
	}
	switch {
	case err != nil || !prefix.IsValid():
		return prefix, fmt.Errorf("%q is not a network, like 192.168.0.0/16 or fd00::/8", word)
	case prefix != prefix.Masked():
		return prefix, fmt.Errorf("%s has bits behind its length: did you mean %v?", word, prefix.Masked())
	case prefix.Addr().Is4In6():
		return prefix, fmt.Errorf("%s: write the IPv4 network itself", word)
	}
	return prefix, nil
}

// validUnit follows systemd.unit(5): the name of a unit of type socket.
func validUnit(name string) bool {
	base, ok := strings.CutSuffix(name, ".socket")
	if !ok || base == "" || len(name) > 255 {
		return false
	}
	for _, r := range base {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune(`:-_.\@`, r):
		default:
			return false
		}
	}
	return base[0] != '-' // an option to systemctl
}
