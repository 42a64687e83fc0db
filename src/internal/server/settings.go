package server

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
)

// Settings is the table [server].
type Settings struct {
	Listen            []string // IP:port; used when systemd passes no socket
	ReadHeaderTimeout time.Duration
	ReadTimeout       time.Duration
	WriteTimeout      time.Duration
	IdleTimeout       time.Duration
	MinRate           int // bytes per second
	MaxHeaderBytes    int
	MaxHeaderLines    int
	MaxBodyBytes      int
	MaxConnections    int
	DrainDelay        time.Duration
	DrainTimeout      time.Duration

	// Of one source: an IPv4 address, or the first 64 bits of an IPv6 address.
	MaxConnectionsPerSource int // 0: see ConnectionsPerSource
	MaxRequestsPerSource    int
	TrustedSources          []netip.Prefix // to which neither applies

	MemoryBudget int // bytes; 0: see Budget
}

// DefaultSettings are those of an empty table.
func DefaultSettings() *Settings {
	return &Settings{
		Listen:            []string{"127.0.0.1:8080"},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MinRate:           512,
		MaxHeaderBytes:    16 << 10,
		MaxHeaderLines:    100,
		MaxBodyBytes:      1 << 20,
		MaxConnections:    256,
		DrainDelay:        time.Second,
		DrainTimeout:      15 * time.Second,

		MaxRequestsPerSource: 16,
	}
}

// Keys are in the order of the documentation. There is no "unlimited".
func (s *Settings) Keys() []edge.Key {
	return []edge.Key{
		keys.Texts("listen", &s.Listen, addresses, readAddress),
		keys.Duration("read_header_timeout", &s.ReadHeaderTimeout, 100*time.Millisecond, time.Minute),
		keys.Duration("read_timeout", &s.ReadTimeout, time.Second, 10*time.Minute),
		keys.Duration("write_timeout", &s.WriteTimeout, time.Second, 10*time.Minute),
		keys.Duration("idle_timeout", &s.IdleTimeout, time.Second, 10*time.Minute),
		keys.Integer("min_rate", &s.MinRate, 1, 1<<20),
		keys.Integer("max_header_bytes", &s.MaxHeaderBytes, 4<<10, 64<<10),
		keys.Integer("max_header_lines", &s.MaxHeaderLines, 16, 1000),
		keys.Integer("max_body_bytes", &s.MaxBodyBytes, 0, 1<<30),
		keys.Integer("max_connections", &s.MaxConnections, 1, 4096),
		keys.Integer("max_connections_per_source", &s.MaxConnectionsPerSource, 0, 4096),
		keys.Integer("max_requests_per_source", &s.MaxRequestsPerSource, 1, 4096),
		networks("trusted_sources", &s.TrustedSources),
		keys.Integer("memory_budget", &s.MemoryBudget, 0, 1<<30),
		keys.Duration("drain_delay", &s.DrainDelay, 0, time.Minute),
		keys.Duration("drain_timeout", &s.DrainTimeout, time.Second, 5*time.Minute),
	}
}

// Check finds values that are good each and not together.
func (s *Settings) Check() error {
	if s.ReadHeaderTimeout > s.ReadTimeout {
		return &edge.KeyError{Keys: []string{"read_header_timeout", "read_timeout"},
			Err: fmt.Errorf("server.read_header_timeout %q is above server.read_timeout %q, which is for the whole request: lower the one or raise the other",
				keys.FormatDuration(s.ReadHeaderTimeout), keys.FormatDuration(s.ReadTimeout))}
	}
	for i, one := range s.Listen {
		for _, other := range s.Listen[:i] {
			if overlap(listenAddress(one), listenAddress(other)) {
				return &edge.KeyError{Keys: []string{"listen"}, Err: fmt.Errorf("%q and %q overlap: remove one of them", other, one)}
			}
		}
	}
	return s.fits()
}

// addresses are those of server.listen: each has a goroutine and a socket.
var addresses = keys.Items{Low: 1, High: 16, One: "an address", Many: "addresses", Example: "127.0.0.1:8080"}

// readAddress wants an IP address, because a name would make the start depend
// on name resolution, and so on the network. Port 0 lets the kernel choose.
func readAddress(s string) (string, error) {
	if !listenAddress(s).IsValid() {
		return "", fmt.Errorf(`%s is not an IP address and port, like "127.0.0.1:8080", "[::1]:8080" or ":8080"`, keys.Quote(s))
	}
	return s, nil
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

// overlap says whether the second of two addresses cannot be listened on, or gets
// only a part of what it asks for, because of the first. ":80" and "[::]:80" are
// all addresses, IPv4 included; "0.0.0.0:80" is those of IPv4.
func overlap(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() || a.Port() == 0 {
		return false
	}
	covers := func(all, one netip.Addr) bool {
		return all == one || all.IsUnspecified() && (all.Is6() || one.Is4())
	}
	one, other := a.Addr().Unmap(), b.Addr().Unmap()
	return covers(one, other) || covers(other, one)
}

// sourceNetworks bounds server.trusted_sources, through which each connection
// goes.
var sourceNetworks = keys.Items{High: 64, One: "an address", Many: "addresses", Example: "192.168.1.7"}

// networks takes IP addresses and networks like 192.168.0.0/16.
func networks(name string, value *[]netip.Prefix) edge.Key {
	return edge.Key{
		Name: name,
		Set: func(v any) error {
			texts, err := sourceNetworks.Read(v)
			if err != nil {
				return err
			}
			var all []netip.Prefix
			for _, s := range texts {
				network, err := parseNetwork(s)
				if err != nil {
					return err
				}
				all = append(all, network)
			}
			*value = all
			return nil
		},
		Format: func() string {
			quoted := make([]string, 0, len(*value))
			for _, network := range *value {
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
		return network, fmt.Errorf(`%s is not an IP address or network, like "192.168.1.7", "10.0.0.0/8" or "fd00::/8"`, keys.Quote(s))
	}
	if network.Masked() != network {
		return network, fmt.Errorf("%q has bits beyond its network; it would be %q", s, network.Masked())
	}
	return network, nil
}

// HasDefaultListen says whether Listen is that of an empty table.
func (s *Settings) HasDefaultListen() bool {
	return slices.Equal(s.Listen, DefaultSettings().Listen)
}
