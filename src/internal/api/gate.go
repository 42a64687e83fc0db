package api

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
)

const (
	// An answer over a large store goes out as fast as its client reads. So many
	// may be on their way, and so many of them to one source (server.Source).
	costlyAnswers   = 8
	costlyPerSource = 2

	// costlyPatience is what an answer has for itself; when a newcomer finds all
	// places taken, the oldest answer that had more is cut off.
	costlyPatience = 2 * time.Second
	costlyRetry    = time.Second
)

// gate lets a bounded number of costly answers through. Who does not read makes
// way for who does.
type gate struct {
	mu      sync.Mutex // held for a look at the places
	holders []*holder  // the oldest first
}

type holder struct {
	source string
	since  time.Time
	cut    func()
}

// enter takes a place for an answer to the source; "" is one without a limit of
// its own. cut must end the answer soon,
// and is called once at most. leave is nil when there is no place; full then
// says whether there is one for nobody.
func (g *gate) enter(source string, cut func()) (leave func(), full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := 0
	for _, h := range g.holders {
		if h.source == source {
			own++
		}
	}
	if source != "" && own >= costlyPerSource && !g.makeWay(func(h *holder) bool { return h.source == source }) {
		return nil, false
	}
	if len(g.holders) >= costlyAnswers && !g.makeWay(func(*holder) bool { return true }) {
		return nil, true
	}
	h := &holder{source, time.Now(), cut}
	g.holders = append(g.holders, h)
	return func() { g.leave(h) }, false
}

// makeWay cuts off the oldest of those that had their time. g.mu is held.
func (g *gate) makeWay(of func(*holder) bool) bool {
	i := slices.IndexFunc(g.holders, of)
	if i < 0 || time.Since(g.holders[i].since) < costlyPatience {
		return false
	}
	g.holders[i].cut()
	g.holders = slices.Delete(g.holders, i, i+1)
	return true
}

func (g *gate) leave(h *holder) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.holders, h); i >= 0 {
		g.holders = slices.Delete(g.holders, i, i+1)
	}
}

// limit is a handler whose answers need a place.
func (g *gate) limit(handler gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		if c.Request.Method == http.MethodHead {
			handler(c) // sends nothing
			return
		}
		control := http.NewResponseController(c.Writer)
		// A deadline that has passed ends the write that hangs. Server and client
		// then see a broken connection: part of the answer is out.
		source := ""
		if prefix, limited := server.Source(c.Request.Context()); limited {
			source = prefix.String()
		}
		leave, full := g.enter(source, func() { _ = control.SetWriteDeadline(time.Now()) })
		if leave != nil {
			defer leave()
			handler(c)
			return
		}
		status, detail := http.StatusTooManyRequests, fmt.Sprintf("%d such answers are on their way to this address: read them first", costlyPerSource)
		if full {
			status, detail = http.StatusServiceUnavailable, fmt.Sprintf("%d such answers are on their way", costlyAnswers)
		}
		c.Header("Retry-After", strconv.Itoa(int(costlyRetry.Seconds())))
		web.Problem(c, status, detail)
	}
}
