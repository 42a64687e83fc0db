package api

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
)

const (
	defaultEvents = 100
	maxEvents     = 1000
)

type eventsBody struct {
	Events     []eventBody  `json:"events"`
	NextCursor string       `json:"next_cursor"`
	Log        eventsStatus `json:"log"`
}

type eventBody struct {
	events.Event
	Fields map[string]string `json:"fields"` // {} and not left out
	Stored bool              `json:"stored"`
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
	return []edge.Route{{Method: http.MethodGet, Path: "/api/v1/events", Role: edge.Anyone, Cost: edge.Large, Handle: func(c *gin.Context) {
		query, err := parseEventsQuery(c.Request.URL.RawQuery)
		if err != nil {
			answerProblem(c, http.StatusBadRequest, err.Error())
			return
		}
		var items []events.Item
		if query.cursor == "" {
			items = e.log.Newest(query.limit)
		} else {
			items = e.log.After(query.after, query.limit)
		}
		body := eventsBody{Events: make([]eventBody, 0, len(items)), NextCursor: query.cursor}
		for _, item := range items {
			fields := item.Fields
			if fields == nil {
				fields = map[string]string{}
			}
			body.Events = append(body.Events, eventBody{Event: item.Event, Fields: fields, Stored: item.Stored})
			body.NextCursor = strconv.FormatUint(item.Seq, 10)
		}
		if body.NextCursor == "" {
			body.NextCursor = "0" // before the first event
		}
		stats := e.log.Stats()
		body.Log = eventsStatus{stats.Directory, stats.Error, stats.Pending, stats.Lost, stats.Suppressed}
		c.JSON(http.StatusOK, body)
	}}}
}

type eventsQuery struct {
	cursor string // "" when there is none
	after  uint64
	limit  int
}

// parseEventsQuery reads the query of /api/v1/events.
func parseEventsQuery(raw string) (eventsQuery, error) {
	q := eventsQuery{limit: defaultEvents}
	err := readQuery(raw, readers{
		"cursor": func(value string) (err error) {
			if q.after, err = strconv.ParseUint(value, 10, 64); err != nil {
				return fmt.Errorf("%q is not a next_cursor of an answer", value)
			}
			q.cursor = value
			return nil
		},
		"limit": readLimit(&q.limit, maxEvents),
	})
	return q, err
}
