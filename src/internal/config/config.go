// Package config reads the strict TOML configuration of gin-edged: layers that
// are merged key by key, a later one over an earlier. An unknown key, a wrong
// type or a value out of range is an error that names file, line and key.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Config is the effective configuration.
type Config struct {
	Server  Server
	Log     Log
	Storage Storage

	// Sources are the files that were read, in order.
	Sources []string

	origin map[string]string // key → file that set it
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

// Layer is one file of the configuration.
type Layer struct {
	Path     string
	Optional bool // a missing file is no error
	// OnData: Path is below the mount point that the layers before this one
	// set storage.data to. Without one there is no such layer.
	OnData bool
}

// DefaultLayers are the files of an installed system: the vendor's defaults,
// what the package of the data partition says of it, the administrator's file,
// and the one on the data partition.
func DefaultLayers() []Layer {
	return []Layer{
		{Path: "/usr/lib/gin-edge/gin-edged.toml", Optional: true},
		{Path: "/usr/lib/gin-edge/gin-edge-data.toml", Optional: true},
		{Path: "/etc/gin-edge/gin-edged.toml", Optional: true},
		{Path: "/gin-edge/gin-edged.toml", Optional: true, OnData: true},
	}
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
		Log:    Log{Level: "info"},
		origin: map[string]string{},
	}
}

// maxFileBytes bounds what a layer may hold: far above any real file, far
// below the memory limit of the service.
const maxFileBytes = 256 << 10

// Load merges the layers over the defaults.
func Load(layers []Layer) (*Config, error) {
	c := Default()
	for _, layer := range layers {
		file := layer.Path
		if layer.OnData {
			if c.Storage.Data == "" {
				continue
			}
			file = c.Storage.Data + layer.Path
		}
		data, err := readFile(file)
		if err != nil {
			if layer.Optional && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, err
		}
		if err := c.Merge(file, data); err != nil {
			return nil, err
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

func readFile(path string) ([]byte, error) {
	// A FIFO or a device would block the start or a reload for ever.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxFileBytes)
	}
	return data, nil
}

// Origin returns the file that set the key, or "" when it has its default.
func (c *Config) Origin(key string) string { return c.origin[key] }

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
