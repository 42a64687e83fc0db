package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// key is one known key: how it is set from a TOML value (string, int64 or
// []any of these), and how it is written.
type key struct {
	name   string
	set    func(c *Config, value any) error
	format func(c *Config) string
}

// keys is the whole schema, in the order in which it is documented. The upper
// limits keep a slip of the pen from turning a protection off: there is no
// "unlimited". Whether the values fit together, and into the memory, is for consistent.
var keys = []key{
	addresses("server.listen", func(c *Config) *[]string { return &c.Server.Listen }),
	duration("server.read_header_timeout", 100*time.Millisecond, time.Minute, func(c *Config) *time.Duration { return &c.Server.ReadHeaderTimeout }),
	duration("server.read_timeout", time.Second, 10*time.Minute, func(c *Config) *time.Duration { return &c.Server.ReadTimeout }),
	duration("server.write_timeout", time.Second, 10*time.Minute, func(c *Config) *time.Duration { return &c.Server.WriteTimeout }),
	duration("server.idle_timeout", time.Second, 10*time.Minute, func(c *Config) *time.Duration { return &c.Server.IdleTimeout }),
	integer("server.min_rate", 1, 1<<20, func(c *Config) *int { return &c.Server.MinRate }),
	integer("server.max_header_bytes", 4<<10, 64<<10, func(c *Config) *int { return &c.Server.MaxHeaderBytes }),
	integer("server.max_header_lines", 16, 1000, func(c *Config) *int { return &c.Server.MaxHeaderLines }),
	integer("server.max_body_bytes", 0, 1<<30, func(c *Config) *int { return &c.Server.MaxBodyBytes }),
	integer("server.max_connections", 1, 4096, func(c *Config) *int { return &c.Server.MaxConnections }),
	integer("server.max_connections_per_source", 0, 4096, func(c *Config) *int { return &c.Server.MaxConnectionsPerSource }),
	integer("server.max_requests_per_source", 1, 4096, func(c *Config) *int { return &c.Server.MaxRequestsPerSource }),
	networks("server.trusted_sources", func(c *Config) *[]netip.Prefix { return &c.Server.TrustedSources }),
	integer("server.memory_budget", 0, 1<<30, func(c *Config) *int { return &c.Server.MemoryBudget }),
	duration("server.drain_delay", 0, time.Minute, func(c *Config) *time.Duration { return &c.Server.DrainDelay }),
	duration("server.drain_timeout", time.Second, 5*time.Minute, func(c *Config) *time.Duration { return &c.Server.DrainTimeout }),
	hostNames("access.hosts", func(c *Config) *[]string { return &c.Access.Hosts }),
	choice("log.level", []string{"error", "warn", "info", "debug"}, func(c *Config) *string { return &c.Log.Level }),
	mountPoint("storage.data", func(c *Config) *string { return &c.Storage.Data }),
}

func duration(name string, low, high time.Duration, field func(*Config) *time.Duration) key {
	return key{
		name: name,
		set: func(c *Config, value any) error {
			s, ok := value.(string)
			if !ok {
				return wrongType(value, `a duration as a string, like "5s" or "1m30s"`)
			}
			d, err := time.ParseDuration(s)
			if err != nil {
				return fmt.Errorf(`%s is not a duration like "5s" or "1m30s"`, quote(s))
			}
			if d < low || d > high {
				return fmt.Errorf("%s is out of range: %s to %s", quote(s), formatDuration(low), formatDuration(high))
			}
			*field(c) = d
			return nil
		},
		format: func(c *Config) string { return strconv.Quote(formatDuration(*field(c))) },
	}
}

// formatDuration is Duration.String without the "0s" after whole minutes and
// the "0m" after whole hours.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func integer(name string, low, high int, field func(*Config) *int) key {
	return key{
		name: name,
		set: func(c *Config, value any) error {
			n, ok := value.(int64)
			if !ok {
				return wrongType(value, "an integer")
			}
			if n < int64(low) || n > int64(high) {
				return fmt.Errorf("%d is out of range: %d to %d", n, low, high)
			}
			*field(c) = int(n)
			return nil
		},
		format: func(c *Config) string { return strconv.Itoa(*field(c)) },
	}
}

func choice(name string, choices []string, field func(*Config) *string) key {
	return key{
		name: name,
		set: func(c *Config, value any) error {
			s, ok := value.(string)
			if !ok {
				return wrongType(value, "a string")
			}
			if !slices.Contains(choices, s) {
				return fmt.Errorf("%s is not one of %s", quote(s), strings.Join(choices, ", "))
			}
			*field(c) = s
			return nil
		},
		format: func(c *Config) string { return strconv.Quote(*field(c)) },
	}
}

// mountPoint takes "" or a path as /proc/self/mountinfo has it: absolute, clean
// and without characters that are escaped there.
func mountPoint(name string, field func(*Config) *string) key {
	return key{
		name: name,
		set: func(c *Config, value any) error {
			s, ok := value.(string)
			if !ok {
				return wrongType(value, "a string")
			}
			if s != "" && (len(s) < 2 || len(s) > maxPath || path.Clean(s) != s || s[0] != '/' || strings.Trim(s, mountCharacters) != "") {
				return fmt.Errorf(`%s is not a mount point: "", or an absolute path like "/data" of letters, digits and - _ . /, without .. or a / at its end`, quote(s))
			}
			*field(c) = s
			return nil
		},
		format: func(c *Config) string { return strconv.Quote(*field(c)) },
	}
}

// maxHosts bounds access.hosts: each request is compared with it.
const maxHosts = 64

// hostNames takes the names of hosts, as the header Host has them but for the
// port. Their case does not matter.
func hostNames(name string, field func(*Config) *[]string) key {
	return key{
		name: name,
		set: func(c *Config, value any) error {
			list, ok := value.([]any)
			if !ok {
				return wrongType(value, `an array of host names, like ["device.example.com"]`)
			}
			if len(list) > maxHosts {
				return fmt.Errorf("has %d names; %d are allowed", len(list), maxHosts)
			}
			names := make([]string, 0, len(list))
			for _, v := range list {
				s, ok := v.(string)
				if !ok {
					return wrongType(v, `a host name as a string, like "device.example.com"`)
				}
				if !isHostName(s) {
					return fmt.Errorf(`%s is not a host name like "device.example.com", without a port; IP addresses are always allowed`, quote(s))
				}
				s = strings.ToLower(s)
				if slices.Contains(names, s) {
					return fmt.Errorf("%s is there twice", quote(s))
				}
				names = append(names, s)
			}
			*field(c) = names
			return nil
		},
		format: func(c *Config) string { return formatStrings(*field(c)) },
	}
}

// isHostName takes what RFC 1123 (section 2.1) and RFC 1035 allow, and the
// underscore that some networks use; not an IP address.
func isHostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		bare := strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || !bare {
			return false
		}
	}
	return true
}

func formatStrings(list []string) string {
	quoted := make([]string, 0, len(list))
	for _, s := range list {
		quoted = append(quoted, strconv.Quote(s))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

const mountCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./"

// maxPath leaves room below PATH_MAX for the names of the service's own files.
const maxPath = 1024

// maxAddresses bounds server.listen: each address has a goroutine and a socket.
const maxAddresses = 16

func addresses(name string, field func(*Config) *[]string) key {
	return key{
		name: name,
		set: func(c *Config, value any) error {
			list, ok := value.([]any)
			if !ok {
				return wrongType(value, `an array of addresses, like ["127.0.0.1:8080"]`)
			}
			if len(list) == 0 || len(list) > maxAddresses {
				return fmt.Errorf("has %d addresses; 1 to %d are allowed", len(list), maxAddresses)
			}
			seen := make([]string, 0, len(list))
			for _, v := range list {
				s, ok := v.(string)
				if !ok {
					return wrongType(v, `an address as a string, like "127.0.0.1:8080"`)
				}
				if err := checkAddress(s); err != nil {
					return err
				}
				if slices.Contains(seen, s) {
					return fmt.Errorf("%s is there twice", quote(s))
				}
				seen = append(seen, s)
			}
			*field(c) = seen
			return nil
		},
		format: func(c *Config) string { return formatStrings(*field(c)) },
	}
}

// checkAddress wants an IP address, because a name would make the start depend
// on name resolution, and so on the network. Port 0 lets the kernel choose.
func checkAddress(s string) error {
	if !listenAddress(s).IsValid() {
		return fmt.Errorf(`%s is not an IP address and port, like "127.0.0.1:8080", "[::1]:8080" or ":8080"`, quote(s))
	}
	return nil
}

// listenAddress reads an address of server.listen. That of one which is none is
// not valid.
func listenAddress(s string) netip.AddrPort {
	if port, ok := strings.CutPrefix(s, ":"); ok {
		s = "[::]:" + port // no address: all of them
	}
	a, _ := netip.ParseAddrPort(s)
	return a
}

// quote is a value in a message: one line, and no longer than one can read.
func quote(s string) string {
	const most = 64
	if len(s) <= most {
		return strconv.Quote(s)
	}
	return strconv.Quote(strings.ToValidUTF8(s[:most], "")) + "…"
}

// maxNetworks bounds server.trusted_sources, through which each connection goes.
const maxNetworks = 64

// networks takes IP addresses and networks like 192.168.0.0/16.
func networks(name string, field func(*Config) *[]netip.Prefix) key {
	return key{
		name: name,
		set: func(c *Config, value any) error {
			list, ok := value.([]any)
			if !ok {
				return wrongType(value, `an array of addresses, like ["192.168.1.7", "10.0.0.0/8"]`)
			}
			if len(list) > maxNetworks {
				return fmt.Errorf("has %d addresses; at most %d are allowed", len(list), maxNetworks)
			}
			var all []netip.Prefix
			for _, v := range list {
				s, ok := v.(string)
				if !ok {
					return wrongType(v, `an address as a string, like "192.168.1.7"`)
				}
				network, err := parseNetwork(s)
				if err != nil {
					return err
				}
				all = append(all, network)
			}
			*field(c) = all
			return nil
		},
		format: func(c *Config) string {
			quoted := make([]string, 0, len(*field(c)))
			for _, network := range *field(c) {
				s := network.String()
				if network.IsSingleIP() {
					s = network.Addr().String()
				}
				quoted = append(quoted, strconv.Quote(s))
			}
			return "[" + strings.Join(quoted, ", ") + "]"
		},
	}
}

func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(s)
	if err != nil || network.Addr().Is4In6() {
		return network, fmt.Errorf(`%q is not an IP address or network, like "192.168.1.7", "10.0.0.0/8" or "fd00::/8"`, s)
	}
	if network.Masked() != network {
		return network, fmt.Errorf("%q has bits beyond its network; it would be %q", s, network.Masked())
	}
	return network, nil
}

func wrongType(value any, want string) error {
	got := "this kind of value"
	switch value.(type) {
	case string:
		got = "a string"
	case int64:
		got = "an integer"
	case []any:
		got = "an array"
	case otherType:
		got = fmt.Sprint(value)
	}
	return errors.New("must be " + want + ", not " + got)
}
