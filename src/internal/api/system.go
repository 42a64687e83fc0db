package api

import (
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

type statusBody struct {
	BootID        string            `json:"boot_id"`
	UptimeSeconds float64           `json:"uptime_seconds"`
	LoadAverage   [3]float64        `json:"load_average"`
	Memory        device.Memory     `json:"memory"`
	Service       statusService     `json:"service"`
	Connections   statusConnections `json:"connections"`
	RequestsTotal uint64            `json:"requests_total"`
	Health        health.Report     `json:"health"`
	Config        statusConfig      `json:"config"`
	Watchdog      statusWatchdog    `json:"watchdog"`
	LastReset     device.Reset      `json:"last_reset"`
	Data          statusData        `json:"data"`
	Firewall      device.Firewall   `json:"firewall"`
	Sandbox       device.Sandbox    `json:"sandbox"`
	Logs          statusLogs        `json:"logs"`
}

type statusService struct {
	PID           int       `json:"pid"`
	Version       string    `json:"version"`
	StartedAt     time.Time `json:"started_at"`
	UptimeSeconds float64   `json:"uptime_seconds"`
	RSSBytes      uint64    `json:"rss_bytes"`
	Goroutines    int       `json:"goroutines"`
}

type statusConnections struct {
	Active                int64  `json:"active"`
	Limit                 int    `json:"limit"`
	RefusedTotal          uint64 `json:"refused_total"`
	RefusedPerSourceTotal uint64 `json:"refused_per_source_total"`
	RejectedTotal         uint64 `json:"rejected_total"`
	SlowTotal             uint64 `json:"slow_total"`
	Sources               int    `json:"sources"`
	MemoryBytes           int64  `json:"memory_bytes"`
	MemoryBudgetBytes     int64  `json:"memory_budget_bytes"`
}

type statusConfig struct {
	Sources    []string      `json:"sources"`
	Generation uint64        `json:"generation"`
	LastReload *statusReload `json:"last_reload"` // null before the first
	Skipped    []string      `json:"skipped"`
	Warnings   []string      `json:"warnings"`
}

type statusLogs struct {
	RecordsTotal uint64 `json:"records_total"`
	DroppedTotal uint64 `json:"dropped_total"`
	RingRecords  int    `json:"ring_records"`
	RingBytes    int    `json:"ring_bytes"`
	Streams      int64  `json:"streams"`
}

type statusReload struct {
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Error string    `json:"error"`
}

type statusWatchdog struct {
	Enabled         bool       `json:"enabled"`
	IntervalSeconds float64    `json:"interval_seconds"`
	LastOKAt        *time.Time `json:"last_ok_at"` // null before the first
	FailuresTotal   uint64     `json:"failures_total"`
	LastError       string     `json:"last_error"`
}

type statusData struct {
	Path       string        `json:"path"`
	State      storage.State `json:"state"`
	Detail     string        `json:"detail"`
	TotalBytes uint64        `json:"total_bytes"`
	FreeBytes  uint64        `json:"free_bytes"`
}

// systemResource tells of the process as a whole, so it sees all of it.
type systemResource struct {
	*Process
	settings Settings
}

func (s systemResource) routes() []edge.Route {
	return []edge.Route{{Method: http.MethodGet, Path: "/api/v1/system/status", Role: edge.Anyone, Handle: func(c *gin.Context) {
		if !noQuery(c) {
			return
		}
		figures, err := s.Device.Figures()
		if err != nil {
			entry(s.Log, c).WithError(err).Debug("the figures of the system are incomplete")
		}
		sandbox, err := s.Device.Sandbox(s.Declared)
		if err != nil {
			entry(s.Log, c).WithError(err).Debug("what confines the service is known in part only")
		}
		connections, watchdog, reload := s.Connections(), s.Watchdog(), s.LastReload()
		logs, uptime := s.Log.Stats(), s.Uptime()
		body := statusBody{
			BootID:        figures.BootID,
			UptimeSeconds: figures.UptimeSeconds,
			LoadAverage:   figures.LoadAverage,
			Memory:        figures.Memory,
			Service: statusService{
				PID:           os.Getpid(),
				Version:       s.Product.Version,
				StartedAt:     startedAt(time.Now(), uptime),
				UptimeSeconds: uptime.Seconds(),
				RSSBytes:      figures.RSSBytes,
				Goroutines:    runtime.NumGoroutine(),
			},
			Connections: statusConnections{
				connections.Active, connections.Limit, connections.Refused, connections.PerSource, connections.Rejected,
				connections.Slow, connections.Sources, connections.Memory, connections.Budget,
			},
			RequestsTotal: s.Requests.Load(),
			Health:        s.Health.ReadyReport(),
			Config: statusConfig{Sources: list(s.settings.Sources), Generation: s.settings.Number,
				Skipped: list(s.settings.Skipped), Warnings: list(s.settings.Warnings)},
			Watchdog: statusWatchdog{
				Enabled:         watchdog.Interval > 0,
				IntervalSeconds: watchdog.Interval.Seconds(),
				FailuresTotal:   watchdog.Failures,
				LastError:       watchdog.LastError,
			},
			LastReset: s.Device.LastReset(),
			Data:      statusData(s.Data()),
			Firewall:  s.Device.Firewall(),
			Sandbox:   sandbox,
			Logs:      statusLogs{logs.Records, logs.Dropped, logs.RingRecords, logs.RingBytes, s.streams.Load()},
		}
		if !reload.At.IsZero() {
			body.Config.LastReload = &statusReload{At: reload.At.UTC(), OK: reload.Error == "", Error: reload.Error}
		}
		if !watchdog.LastOK.IsZero() {
			at := watchdog.LastOK.UTC()
			body.Watchdog.LastOKAt = &at
		}
		c.JSON(http.StatusOK, body)
	}}}
}

// list is [] in JSON, and never null.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

// startedAt is when the process started, by the wall clock of now: a device
// without a clock of its own that was right starts in the past, until it has
// heard the time.
func startedAt(now time.Time, uptime time.Duration) time.Time {
	return now.UTC().Add(-uptime).Truncate(time.Millisecond)
}
