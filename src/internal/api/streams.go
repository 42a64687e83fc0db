package api

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
)

const (
	// Streams have no end of their own, so they must not take all connections,
	// and one source not all streams.
	maxStreams          = 8
	maxStreamsPerSource = 3

	// streamLife is after what time a stream ends and its client connects again:
	// one that never reads, and so is never found to be gone, does not keep its
	// place for ever.
	streamLife = time.Hour
)

// streamPlaces are those of the streams that are open, of all generations. The
// zero value has all of them free.
type streamPlaces struct {
	open atomic.Int64

	mu      sync.Mutex // held for a look at the numbers
	sources map[netip.Prefix]int
}

// Load is how many streams are open.
func (s *streamPlaces) Load() int64 { return s.open.Load() }

// enter takes a place for the request of ctx. leave is nil when there is none;
// crowded then says whether its own source has too many.
func (s *streamPlaces) enter(ctx context.Context) (leave func(), crowded bool) {
	source, limited := server.Source(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open.Load() >= maxStreams {
		return nil, false
	}
	if limited {
		if s.sources[source] >= maxStreamsPerSource {
			return nil, true
		}
		if s.sources == nil {
			s.sources = map[netip.Prefix]int{}
		}
		s.sources[source]++
	}
	s.open.Add(1)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open.Add(-1)
		if limited {
			if s.sources[source]--; s.sources[source] == 0 {
				delete(s.sources, source)
			}
		}
	}, false
}
