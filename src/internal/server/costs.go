package server

import (
	"fmt"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/memory"
)

// What the server charges to its budget, in bytes of heap. The kernel's buffers
// of a connection and what the garbage collector lets grow come on top: the
// budget is a quarter of the memory for that reason.
const (
	// connectionBytes is a connection that does nothing: two buffers of 4 KiB, the
	// stack of its goroutine, and what net/http knows of it.
	connectionBytes = 16 << 10

	// reservedConnections are beyond max_connections, for server.trusted_sources:
	// an administrator gets in when all places are taken.
	reservedConnections = 8

	// busyRequests is how many requests with the largest header must fit beside
	// all connections. Those above wait for no room: they are told to come again.
	busyRequests = 16

	requestBytes = 6 << 10 // request, answer and what the handlers make of them
	lineBytes    = 128     // an entry of net/http's header map and its slice
)

// requestBytesOf is what a request holds once net/http has read its header of so
// many bytes and lines.
func requestBytesOf(bytes, lines int) int64 {
	return requestBytes + 2*int64(bytes) + lineBytes*int64(lines)
}

// Budget returns server.memory_budget in bytes and where it comes from. Without
// a value it is a quarter of the memory that the process may use.
func (s *Settings) Budget() (bytes int64, source string) {
	if s.MemoryBudget > 0 {
		return int64(s.MemoryBudget), "server.memory_budget"
	}
	limit, source, _ := memory.Limit()
	return limit / 4, "a quarter of " + source
}

// ConnectionsPerSource returns server.max_connections_per_source: without a value
// a quarter of max_connections, but not below 8.
func (s *Settings) ConnectionsPerSource() int {
	limit := s.MaxConnectionsPerSource
	if limit == 0 {
		limit = max(8, s.MaxConnections/4)
	}
	return min(limit, s.MaxConnections)
}

// budgeted are the keys that the sum of fits is made of.
var budgeted = []string{"max_connections", "max_header_bytes", "max_header_lines", "memory_budget"}

// fits says whether the connections, and some requests with the largest header,
// fit into the budget, and the budget into the memory.
func (s *Settings) fits() error {
	// Half of it: the collector lets garbage grow to the size of what is in use.
	if limit, source, known := memory.Limit(); known && int64(s.MemoryBudget) > limit/2 {
		return &edge.KeyError{Keys: []string{"memory_budget"}, Err: fmt.Errorf("%s is more than half of %s, %s: lower it, or raise MemoryHigh= and GOMEMLIMIT of the unit",
			mebibytes(int64(s.MemoryBudget)), source, mebibytes(limit))}
	}
	budget, source := s.Budget()
	connections := int64(s.MaxConnections+reservedConnections) * connectionBytes
	request := requestBytesOf(s.MaxHeaderBytes, s.MaxHeaderLines)
	busy := int64(min(busyRequests, s.MaxConnections))
	need := connections + busy*request
	if need <= budget {
		return nil
	}
	remedy := "not one connection fits"
	if fit := (budget-busy*request)/connectionBytes - reservedConnections; fit > 0 {
		remedy = fmt.Sprintf("%d connections fit", fit)
	}
	err := fmt.Errorf("(server.max_connections %d + %d reserved) x %d KiB + %d requests with the largest header (max_header_bytes %d, max_header_lines %d) x %d KiB = %s exceeds the budget of %s (%s): %s; lower it, or raise server.memory_budget together with MemoryHigh= of the unit",
		s.MaxConnections, reservedConnections, connectionBytes>>10, busy, s.MaxHeaderBytes, s.MaxHeaderLines, request>>10,
		mebibytes(need), mebibytes(budget), source, remedy)
	return &edge.KeyError{Keys: budgeted, Err: err}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
