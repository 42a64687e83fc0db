package app

import (
	"fmt"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
)

const (
	// Who is refused is logged this often at most, and recorded as an event this
	// often: a client that floods fills neither.
	crowdLogs   = 10 * time.Second
	crowdEvents = 10 * time.Minute
)

// crowd tells of connections that were refused or cut off. It is the main loop's
// and reads counters: neither delays a connection.
type crowd struct {
	log    *logrus.Logger
	events *events.Log

	logged, recorded server.Stats // the figures when that was done last
	loggedAt         time.Time
	recordedAt       time.Time
}

func (w *crowd) watch(now time.Time, stats server.Stats) {
	if text := crowded(w.logged, stats); text != "" && now.Sub(w.loggedAt) >= crowdLogs {
		w.log.WithFields(logrus.Fields{"active": stats.Active, "sources": stats.Sources, "memory": stats.Memory}).Warn(text)
		w.logged, w.loggedAt = stats, now
	}
	if text := crowded(w.recorded, stats); text != "" && now.Sub(w.recordedAt) >= crowdEvents {
		w.events.Record(events.Event{Kind: events.Crowded, Severity: events.Warning, Message: text, Fields: map[string]string{
			"active": strconv.FormatInt(stats.Active, 10), "sources": strconv.Itoa(stats.Sources),
			"refused": strconv.FormatUint(stats.Refused-w.recorded.Refused, 10),
		}})
		w.recorded, w.recordedAt = stats, now
	}
}

// crowded says what has happened between two looks, or "".
func crowded(before, now server.Stats) string {
	refused, slow := now.Refused-before.Refused, now.Slow-before.Slow
	if refused == 0 && slow == 0 {
		return ""
	}
	return fmt.Sprintf("%d connections were refused, %d of them because their address had too many, and %d were cut off because they were too slow; %d of %d are in use",
		refused, now.PerSource-before.PerSource, slow, now.Active, now.Limit)
}
