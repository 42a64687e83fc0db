package config

import (
	"fmt"
	"net/netip"
)

// consistent finds values that are good each and not together. The error names
// the place of one of them.
func (c *Config) consistent() error {
	if s := c.Server; s.ReadHeaderTimeout > s.ReadTimeout {
		return c.disagree("server.read_header_timeout", "server.read_timeout",
			fmt.Errorf("server.read_header_timeout %q is above server.read_timeout %q, which is for the whole request: lower the one or raise the other",
				formatDuration(s.ReadHeaderTimeout), formatDuration(s.ReadTimeout)))
	}
	for i, one := range c.Server.Listen {
		for _, other := range c.Server.Listen[:i] {
			if overlap(listenAddress(one), listenAddress(other)) {
				return c.disagree("server.listen", "server.listen", fmt.Errorf("%q and %q overlap: remove one of them", other, one))
			}
		}
	}
	return c.fits()
}

// disagree puts the place of the key before the error, or that of the other one
// when a default disagrees with it.
func (c *Config) disagree(name, other string, err error) error {
	at, ok := c.origin[name]
	if !ok {
		name = other
		at = c.origin[other]
	}
	return fmt.Errorf("%s:%d: key %s: %w", at.file, at.line, name, err)
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
