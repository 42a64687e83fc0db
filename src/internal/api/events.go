package api

import (
	"fmt"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
)

const (
	defaultEvents = 100
	maxEvents     = 1000
)

// The answer is {"events": […], …} with the members of eventsEnd. The events are
// sent as the log has them, one by one.
type eventsEnd struct {
	NextCursor string       `json:"next_cursor"`
	Reset      bool         `json:"reset"`
	Log        eventsStatus `json:"log"`
}

type eventsStatus struct {
	Directory       string `json:"directory"`
	Error           string `json:"error"`
	Pending         int    `json:"pending"`
	LostTotal       uint64 `json:"lost_total"`
	SuppressedTotal uint64 `json:"suppressed_total"`
}

type eventsResource struct{ log *events.Log }

func (e eventsResource) routes() []edge.Route {
	return []edge.Route{{Method: http.MethodGet, Path: "/api/v1/events", Role: edge.Anyone, Cost: edge.Large, Handle: e.page}}
}

func (e eventsResource) page(c *gin.Context) {
	query, err := parseEventsQuery(c.Request.URL.RawQuery)
	if err != nil {
		web.Problem(c, http.StatusBadRequest, err.Error())
		return
	}
	var page events.Page
	if query.cursor == nil {
		page = e.log.Newest(query.limit)
	} else {
		page = e.log.After(*query.cursor, query.limit)
	}
	stats := e.log.Stats()
	end := mustJSON(eventsEnd{page.Next.String(), page.Reset,
		eventsStatus{stats.Directory, stats.Error, stats.Pending, stats.Lost, stats.Suppressed}})
	c.Header("Content-Type", "application/json; charset=utf-8")
	w := c.Writer
	_, err = io.WriteString(w, `{"events":[`)
	first := true
	for item := range page.All() {
		if err != nil {
			return // the client has gone
		}
		if !first {
			_, _ = io.WriteString(w, ",")
		}
		first = false
		_, err = w.Write(item.JSON)
	}
	end[0] = ',' // instead of {
	_, _ = io.WriteString(w, "]")
	_, _ = w.Write(end)
}

type eventsQuery struct {
	cursor *events.Cursor // nil without one
	limit  int
}

// parseEventsQuery reads the query of /api/v1/events.
func parseEventsQuery(raw string) (eventsQuery, error) {
	q := eventsQuery{limit: defaultEvents}
	err := readQuery(raw, readers{
		"cursor": func(value string) error {
			c, err := events.ParseCursor(value)
			if err != nil {
				return fmt.Errorf("%s %w; allowed is the next_cursor of an earlier answer, or 0", short(value), err)
			}
			q.cursor = &c
			return nil
		},
		"limit": readLimit(&q.limit, maxEvents),
	})
	return q, err
}
