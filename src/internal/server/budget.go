package server

import (
	"context"
	"sync/atomic"
)

// budget is the memory for connections and for requests that are not finished.
// What is charged is known beforehand, so that nothing is begun that does not
// fit; see the costs in package config.
type budget struct {
	limit atomic.Int64 // bytes; of the configuration in force
	used  atomic.Int64
}

// take charges n bytes, if they fit.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) <= b.limit.Load() {
		return true
	}
	b.used.Add(-n)
	return false
}

// force charges n bytes that are held in any case.
func (b *budget) force(n int64) { b.used.Add(n) }

func (b *budget) give(n int64) { b.used.Add(-n) }

// Charge charges n bytes to the memory for what is not finished, in the name of
// the request of ctx, and says whether they are there. The slowest of the other
// connections make way for them. They are given back with the request.
func Charge(ctx context.Context, n int64) bool {
	c := connOf(ctx)
	if c == nil || c.self {
		return true // not a client's
	}
	if !c.server.room(n, c) {
		return false
	}
	c.held.Add(n)
	return true
}
