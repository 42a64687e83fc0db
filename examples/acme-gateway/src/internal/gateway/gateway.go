// Package gateway is what acme's gateway adds to the device API: it reads the
// temperatures of the device, keeps their history in memory, shows on an LED how
// it is, and can be asked to show itself.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"

	"example.com/acme-gateway/internal/sysfs"
)

const (
	triggerGood  = "heartbeat"
	triggerBad   = "timer"
	triggerFound = "default-on"

	maxIdentify = 60 // seconds

	// The loop wakes up at least so often: its beats must not depend on settings.
	tick = time.Second
)

// reading is what all sensors said at a time.
type reading struct {
	Time    time.Time      `json:"time"`
	Sensors []sysfs.Sensor `json:"sensors"`
}

type gateway struct {
	root string // the device's /sys
	host *edge.Host

	mu         sync.Mutex // held for a look; never while a file is used
	settings   *settings
	history    []reading // the oldest first
	failure    error     // of the last reading or of the LED
	hot        bool
	identifyTo time.Time
}

// Extension returns the gateway's part of the service.
func Extension() edge.Extension { return extension(&gateway{root: "/sys", settings: defaults()}) }

func extension(g *gateway) edge.Extension {
	return edge.Extension{
		Name:     "gateway",
		Settings: func() edge.Settings { return defaults() },
		Change:   g.change,
		Start: func(_ context.Context, host *edge.Host) error {
			g.host = host
			return nil
		},
		Routes: []edge.Route{
			{
				Method: http.MethodGet, Path: "/api/v1/x/gateway/sensors", Role: edge.Anyone, Handle: g.sensors,
				Summary: "What the sensors say now",
			},
			{
				Method: http.MethodGet, Path: "/api/v1/x/gateway/history", Role: edge.Anyone, Cost: edge.Large, Handle: g.past,
				Summary: "The readings that are kept, the oldest first",
			},
			{
				Method: http.MethodPost, Path: "/api/v1/x/gateway/identify", Role: edge.Operator, Body: 1 << 10, Handle: g.identify,
				Summary: "Have the LED shine, so that a person finds the device",
			},
		},
		Loops: []edge.Loop{{Name: "sensors", Limit: 10 * time.Second, Run: g.watch}},
		Ready: []edge.Check{{Name: "sensors", Run: func(context.Context) error { return g.ready() }}},
	}
}

func (g *gateway) change(s edge.Settings) (func(), error) {
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.settings = s.(*settings)
		g.trim()
	}, nil
}

// trim drops what is too old. g.mu is held.
func (g *gateway) trim() {
	if more := len(g.history) - g.settings.History; more > 0 {
		g.history = append([]reading(nil), g.history[more:]...)
	}
}

// watch reads the sensors and keeps the LED as it should be.
func (g *gateway) watch(ctx context.Context, beat func()) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var last time.Time
	for {
		g.mu.Lock()
		due := time.Since(last) >= g.settings.Interval
		g.mu.Unlock()
		if due {
			last = time.Now()
			g.read()
		}
		g.show()
		beat()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (g *gateway) read() {
	sensors, err := sysfs.Temperatures(g.root)
	if err == nil && len(sensors) == 0 {
		err = errors.New("the device has no sensor")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failure = err
	if len(sensors) == 0 {
		return
	}
	g.history = append(g.history, reading{time.Now().UTC(), sensors})
	g.trim()
	hot := ""
	for _, s := range sensors {
		if s.Celsius >= float64(g.settings.Hot) {
			hot = fmt.Sprintf("%s is at %.1f °C, hot from %d °C", s.Name, s.Celsius, g.settings.Hot)
		}
	}
	if g.hot != (hot != "") {
		g.hot = hot != ""
		e := edge.Event{Kind: "temperature", Severity: edge.Info, Message: "the temperature is good again"}
		if g.hot {
			e.Severity, e.Message = edge.Warning, hot
		}
		g.host.Record(e)
	}
}

// show sets the LED, if the device has one.
func (g *gateway) show() {
	g.mu.Lock()
	led, trigger := g.settings.LED, triggerGood
	switch {
	case time.Now().Before(g.identifyTo):
		trigger = triggerFound
	case g.hot || g.failure != nil:
		trigger = triggerBad
	}
	g.mu.Unlock()
	if led == "" {
		return
	}
	if err := sysfs.SetTrigger(g.root, led, trigger); err != nil {
		g.mu.Lock()
		g.failure = err
		g.mu.Unlock()
	}
}

func (g *gateway) ready() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.failure != nil:
		return edge.Degraded(g.failure)
	case g.hot:
		return edge.Degraded(errors.New("a sensor is hot"))
	}
	return nil
}

func (g *gateway) sensors(c *gin.Context) {
	g.mu.Lock()
	var last *reading // null before the first
	if n := len(g.history); n > 0 {
		last = &g.history[n-1]
	}
	g.mu.Unlock()
	c.JSON(http.StatusOK, gin.H{"last": last})
}

func (g *gateway) past(c *gin.Context) {
	g.mu.Lock()
	history := append([]reading{}, g.history...) // the readings do not change
	g.mu.Unlock()
	c.JSON(http.StatusOK, gin.H{"readings": history})
}

func (g *gateway) identify(c *gin.Context) {
	var body struct {
		Seconds int `json:"seconds"`
	}
	if !web.ReadJSON(c, &body) {
		return
	}
	if body.Seconds < 1 || body.Seconds > maxIdentify {
		web.Problem(c, http.StatusUnprocessableEntity, fmt.Sprintf("seconds is %d; 1 to %d are allowed", body.Seconds, maxIdentify))
		return
	}
	g.mu.Lock()
	g.identifyTo = time.Now().Add(time.Duration(body.Seconds) * time.Second)
	g.mu.Unlock()
	c.Status(http.StatusNoContent)
}
