// Package api is the HTTP interface: routes, their handlers and what every
// request goes through. Its contract is api/openapi.json.
package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/problem"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/sd"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

// Process is what all generations of the handler share.
type Process struct {
	Log      *log.Log
	Health   *health.Registry
	Device   *device.Reader
	Version  string
	Started  time.Time
	Requests atomic.Uint64 // without the requests of the watchdog

	Connections func() server.Stats
	Watchdog    func() sd.WatchdogStats
	LastReload  func() Reload
	Draining    func() bool
	Events      *events.Log
	Data        func() storage.Report // of the data partition; at once

	streams atomic.Int64 // of the log
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
	Sources      []string
	MaxBodyBytes int64
}

type api struct {
	*Process
	settings Settings
}

func init() {
	// Gin's debug mode prints to stdout. The mode is global and read by every
	// engine, so it is set before the first one exists.
	gin.SetMode(gin.ReleaseMode)
}

// New builds the handler of one generation.
func New(process *Process, settings Settings) *gin.Engine {
	a := &api{Process: process, settings: settings}
	engine := gin.New()
	// A path is what the client wrote; a redirect would answer for two names.
	engine.RedirectTrailingSlash = false
	engine.HandleMethodNotAllowed = true
	if err := engine.SetTrustedProxies(nil); err != nil {
		panic(err) // it parses the list, which is empty
	}
	engine.Use(a.identify, a.recover, a.limitBody)
	engine.NoRoute(func(c *gin.Context) {
		a.problem(c, http.StatusNotFound, "no such resource")
	})
	engine.NoMethod(func(c *gin.Context) {
		a.problem(c, http.StatusMethodNotAllowed, "the resource does not have this method; see Allow")
	})
	a.registerHealth(engine)
	a.registerDevice(engine)
	a.registerSystem(engine)
	a.registerEvents(engine)
	a.registerLogs(engine)
	a.registerOpenAPI(engine)
	return engine
}

// get registers a read-only resource: GET, and HEAD with the same header.
func get(engine *gin.Engine, path string, handler gin.HandlerFunc) {
	engine.GET(path, handler)
	engine.HEAD(path, handler)
}

// problem ends the request with an error body.
func (a *api) problem(c *gin.Context, status int, detail string) {
	body := problem.New(status, detail, c.Request.URL.EscapedPath(), identityOf(c).RequestID).JSON()
	c.Abort()
	// Known before the end of the handler, so that a flushed answer is whole.
	c.Header("Content-Length", strconv.Itoa(len(body)))
	c.Data(status, problem.ContentType, body)
}
