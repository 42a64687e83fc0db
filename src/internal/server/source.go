package server

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// turnTimeout is how long a request waits while its source has all its turns.
const turnTimeout = 5 * time.Second

// addressOf returns the IP address of a client, not valid when it has none.
func addressOf(addr net.Addr) netip.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// sourceOf returns what counts as one client: an IPv4 address, or the first 64
// bits of an IPv6 address, which are one network (RFC 4291, section 2.5.1) and
// so as a rule one owner. Link-local addresses share theirs with all neighbours
// and count alone.
func sourceOf(ip netip.Addr) netip.Prefix {
	bits := ip.BitLen()
	if ip.Is6() && !ip.IsLinkLocalUnicast() && !ip.IsLoopback() {
		bits = 64
	}
	source, _ := ip.Prefix(bits) // bits fit
	return source
}

// Source returns the source of a request, and false when it is none to be
// limited: the service itself, a socket that is not of IP, or one of
// server.trusted_sources.
func Source(ctx context.Context) (netip.Prefix, bool) {
	if c := connOf(ctx); c != nil && c.source != nil {
		return c.source.prefix, true
	}
	return netip.Prefix{}, false
}

// source is the account of one client.
type source struct {
	prefix netip.Prefix
	conns  int // guarded by sources.mu

	// turns has a place for each request that is worked on. A new configuration
	// replaces it; who holds a place of the one before gives it back to that.
	turns atomic.Pointer[chan struct{}]
}

// sources has an account for each source that has a connection.
type sources struct {
	mu    sync.Mutex // held for a look into the map
	all   map[netip.Prefix]*source
	count atomic.Int64
}

// enter counts a connection, unless its source has as many as it may.
func (s *sources) enter(prefix netip.Prefix, limit, turns int) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	account := s.all[prefix]
	if account == nil {
		account = &source{prefix: prefix}
		account.setTurns(turns)
		s.all[prefix] = account
		s.count.Add(1)
	}
	if account.conns >= limit {
		return nil
	}
	account.conns++
	return account
}

func (s *sources) leave(account *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	account.conns--
	if account.conns == 0 {
		delete(s.all, account.prefix)
		s.count.Add(-1)
	}
}

// setTurns gives all accounts the number of a new configuration.
func (s *sources) setTurns(turns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, account := range s.all {
		if cap(*account.turns.Load()) != turns {
			account.setTurns(turns)
		}
	}
}

func (s *source) setTurns(turns int) {
	c := make(chan struct{}, turns)
	s.turns.Store(&c)
}

// turn waits for a place, and returns where to give it back: nil when none came
// free in time.
func (s *source) turn(ctx context.Context) chan struct{} {
	turns := *s.turns.Load()
	select {
	case turns <- struct{}{}:
		return turns
	default:
	}
	timer := time.NewTimer(turnTimeout)
	defer timer.Stop()
	select {
	case turns <- struct{}{}:
		return turns
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

// trusted says whether an address is one of server.trusted_sources.
func trusted(networks []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip) })
}
