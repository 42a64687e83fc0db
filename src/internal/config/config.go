// Package config reads the strict TOML configuration of gin-edged: layers that
// are merged key by key, a later one over an earlier. An unknown key, a wrong
// type or a value out of range is an error that names file, line and key.
package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Config is the effective configuration.
type Config struct {
	Server  Server
	Access  Access
	Log     Log
	Storage Storage

	// Sources are the files that were read, in order.
	Sources []string
	// Skipped are those that a start has passed over.
	Skipped []Skipped
	// Warnings are about what is accepted and should be changed. Each names its
	// file and the remedy.
	Warnings []string

	origin map[string]place // key → where it was set
	copies []keptCopy
}

type place struct {
	file string
	line int
}

// Server is the [server] table.
type Server struct {
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

// Access is the [access] table.
type Access struct {
	// Hosts are the names under which the device is reached, beside those that it
	// knows itself.
	Hosts []string
}

// Log is the [log] table.
type Log struct {
	Level string // error, warn, info, debug
}

// Storage is the [storage] table.
type Storage struct {
	// Data is where the data partition is mounted; "" means that none is
	// expected.
	Data string
}

// Default returns the values that hold when no file sets a key.
func Default() *Config {
	return &Config{
		Server: Server{
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
		},
		Access: Access{Hosts: []string{}},
		Log:    Log{Level: "info"},
		origin: map[string]place{},
	}
}

// Origin returns the file that set the key, or "" when it has its default.
func (c *Config) Origin(key string) string { return c.origin[key].file }

// TOML returns the configuration as a file that Load reads back to the same
// values. A comment names the origin of each value.
func (c *Config) TOML() string {
	var b strings.Builder
	table := ""
	for i := range keys {
		k := &keys[i]
		t, name, _ := strings.Cut(k.name, ".")
		if t != table {
			if table != "" {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "[%s]\n", t)
			table = t
		}
		origin := c.Origin(k.name)
		if origin == "" {
			origin = "default"
		}
		fmt.Fprintf(&b, "%s = %s  # %s\n", name, k.format(c), strconv.Quote(origin))
	}
	return b.String()
}
