package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
)

// The limits that do not fit into the memory are refused with the sum, and with
// the keys that it is made of.
func TestLimitsThatDoNotFit(t *testing.T) {
	for _, tc := range []struct {
		change func(*Settings)
		want   string
	}{
		{func(s *Settings) { s.MaxConnections = 500 }, ""},
		{func(s *Settings) { s.MaxConnections = 4096 }, "(server.max_connections 4096 + 8 reserved) x 16 KiB + 16 requests with the largest header " +
			"(max_header_bytes 16384, max_header_lines 100) x 50 KiB = 64.9 MiB exceeds the budget of 10.0 MiB (server.memory_budget): 581 connections fit; lower it, or raise server.memory_budget"},
		{func(s *Settings) { s.MaxConnections, s.MaxHeaderBytes, s.MaxHeaderLines = 500, 65536, 1000 },
			"16 requests with the largest header (max_header_bytes 65536, max_header_lines 1000) x 259 KiB = 12.0 MiB"},
		{func(s *Settings) {
			s.MaxConnections, s.MaxHeaderBytes, s.MaxHeaderLines, s.MemoryBudget = 256, 65536, 1000, 1<<20
		}, "not one connection fits"},
	} {
		s := DefaultSettings()
		s.MemoryBudget = 10 << 20
		tc.change(s)
		err := s.Check()
		var about *edge.KeyError
		switch {
		case tc.want == "" && err != nil:
			t.Error(err)
		case tc.want != "" && (!errors.As(err, &about) || about.Keys[0] != "max_connections" || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%v\nwant\n %s", err, tc.want)
		}
	}
	// By default as well, and there the budget is derived.
	s := DefaultSettings()
	s.MaxConnections = 4096
	if err := s.Check(); err != nil && !strings.Contains(err.Error(), "(a quarter of ") {
		t.Errorf("error %v", err)
	}
	if err := DefaultSettings().Check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func TestConnectionsPerSource(t *testing.T) {
	for _, tc := range []struct{ set, most, want int }{{0, 256, 64}, {0, 16, 8}, {0, 4, 4}, {5, 256, 5}, {100, 10, 10}} {
		s := Settings{MaxConnections: tc.most, MaxConnectionsPerSource: tc.set}
		if got := s.ConnectionsPerSource(); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}
