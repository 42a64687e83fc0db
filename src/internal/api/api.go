// Package api is the HTTP interface: routes, their handlers and what every
// request goes through. Its contract is openapi/openapi.json.
package api

import (
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/sd"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

// Process is what all generations of the handler share. Each resource gets
// from it what it needs, and no more; New refuses one that is not whole.
type Process struct {
	Log      *log.Log
	Health   *health.Registry
	Device   *device.Reader
	Product  edge.Product
	Document []byte        // see Document
	Requests atomic.Uint64 // without the requests of the watchdog

	Uptime      func() time.Duration // of the process, by the monotonic clock
	Connections func() server.Stats
	Watchdog    func() sd.WatchdogStats
	LastReload  func() Reload
	Draining    func() bool
	Events      *events.Log
	Data        func() storage.Report // of the data partition; at once
	Public      func(string) string   // a text without the paths of the configuration's files
	Declared    string                // limits, by the unit: the value of device.SandboxVariable

	streams streamPlaces // of the log
	answers gate         // over a large store
}

// missing names what was not wired, or is "".
func (p *Process) missing() string {
	switch {
	case p.Log == nil:
		return "Log"
	case p.Health == nil:
		return "Health"
	case p.Device == nil:
		return "Device"
	case p.Document == nil:
		return "Document"
	case p.Uptime == nil:
		return "Uptime"
	case p.Connections == nil:
		return "Connections"
	case p.Watchdog == nil:
		return "Watchdog"
	case p.LastReload == nil:
		return "LastReload"
	case p.Draining == nil:
		return "Draining"
	case p.Events == nil:
		return "Events"
	case p.Data == nil:
		return "Data"
	case p.Public == nil:
		return "Public"
	}
	return ""
}

// Reload is the outcome of the last reload. At is zero when there was none;
// Error is "" when it succeeded.
type Reload struct {
	At    time.Time
	Error string
}

// Settings are one generation's own.
type Settings struct {
	Number       uint64
	Sources      []string // of the configuration, as Public has them; so the next two
	Skipped      []string // layers that the start has passed over, and why
	Warnings     []string // about what is accepted and should be changed
	Hosts        []string // names of the device, beside those that it knows itself; lower case
	MaxBodyBytes int64
	Routes       []edge.Route // beside the API's own
}

// api is what every request goes through, whatever its resource.
type api struct {
	log          *log.Log
	requests     *atomic.Uint64
	draining     func() bool
	answers      *gate
	maxBodyBytes int64
}

func init() {
	// Gin's debug mode prints to stdout. The mode is global and read by every
	// engine, so it is set before the first one exists.
	gin.SetMode(gin.ReleaseMode)
}

// routes is the API's own table.
func routes(p *Process, settings Settings) []edge.Route {
	return slices.Concat(
		healthResource{p.Health}.routes(),
		deviceResource{p.Log, p.Device, p.Product}.routes(),
		systemResource{p, settings}.routes(),
		eventsResource{p.Events}.routes(),
		logsResource{p.Log, &p.streams, p.Public, streamLife}.routes(),
		openAPIResource{p.Document}.routes(),
	)
}

// New builds the handler of one generation. It panics when the process is not
// whole or a row of the API is not, and when checkRows refuses the others:
// none of these depends on the configuration.
func New(process *Process, settings Settings) *gin.Engine {
	if field := process.missing(); field != "" {
		panic("api: Process." + field + " is not set")
	}
	a := &api{log: process.Log, requests: &process.Requests, draining: process.Draining, answers: &process.answers, maxBodyBytes: settings.MaxBodyBytes}
	engine := gin.New()
	// A path is what the client wrote; a redirect would answer for two names, and
	// so would %2F for a slash: a filter in front of the service sees the raw path.
	engine.RedirectTrailingSlash = false
	engine.UseEscapedPath = true
	engine.HandleMethodNotAllowed = true
	if err := engine.SetTrustedProxies(nil); err != nil {
		panic(err) // it parses the list, which is empty
	}
	engine.Use(a.identify, a.recover, newHosts(process.Device, settings.Hosts).check)
	engine.NoRoute(noBody, func(c *gin.Context) {
		web.Problem(c, http.StatusNotFound, "no such resource")
	})
	engine.NoMethod(noBody, func(c *gin.Context) {
		web.Problem(c, http.StatusMethodNotAllowed, "the resource does not have this method; see Allow")
	})
	if err := a.serve(engine, slices.Concat(routes(process, settings), settings.Routes)); err != nil {
		panic("api: " + err.Error())
	}
	return engine
}
