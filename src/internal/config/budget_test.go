package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The limits that do not fit into the memory are refused with the sum, whatever
// file has them.
func TestLimitsThatDoNotFit(t *testing.T) {
	const budget = "[server]\nmemory_budget = 10485760\n"
	for _, tc := range []struct{ add, want string }{
		{"max_connections = 500\n", ""},
		{"max_connections = 4096\n", ":3: key server.max_connections: (server.max_connections 4096 + 8 reserved) x 16 KiB + 16 requests with the largest header " +
			"(max_header_bytes 16384, max_header_lines 100) x 50 KiB = 64.9 MiB exceeds the budget of 10.0 MiB (server.memory_budget): 581 connections fit; lower it, or raise server.memory_budget"},
		{"max_connections = 500\nmax_header_bytes = 65536\nmax_header_lines = 1000\n", "16 requests with the largest header (max_header_bytes 65536, max_header_lines 1000) x 259 KiB = 12.0 MiB"},
		{"max_connections = 256\nmax_header_bytes = 65536\nmax_header_lines = 1000\nmemory_budget = 1048576\n", "not one connection fits"},
	} {
		settings := budget
		if strings.Contains(tc.add, "memory_budget") {
			settings = "[server]\n"
		}
		file := filepath.Join(t.TempDir(), "f.toml")
		if err := os.WriteFile(file, []byte(settings+tc.add), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load([]Layer{{Path: file}})
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%q: %v", tc.add, err)
		case tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), file+":") || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%q:\n %v\nwant\n %s", tc.add, err, tc.want)
		}
	}
	// By default as well, and there the budget is derived.
	c := Default()
	c.Server.MaxConnections = 4096
	if err := c.fits(); err != nil && !strings.Contains(err.Error(), "(a quarter of ") {
		t.Errorf("error %v", err)
	}
	if err := Default().fits(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func TestConnectionsPerSource(t *testing.T) {
	for _, tc := range []struct{ set, most, want int }{{0, 256, 64}, {0, 16, 8}, {0, 4, 4}, {5, 256, 5}, {100, 10, 10}} {
		s := Server{MaxConnections: tc.most, MaxConnectionsPerSource: tc.set}
		if got := s.ConnectionsPerSource(); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}
