package app

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/api"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/extension"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/sd"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

// newApp makes the parts of a service and wires them; nothing runs yet.
func newApp(options Options) (*App, error) {
	added, tables, err := check(options.Extensions)
	if err != nil {
		return nil, err
	}
	document, err := api.Document(options.Product.Name, added.Routes())
	if err != nil {
		return nil, err
	}
	started := time.Now()
	a := &App{
		Options:  options,
		health:   &health.Registry{},
		failures: make(chan error, 1),
		keeping:  make(chan struct{}, 1),
		tables:   tables,
		added:    added,
	}
	a.phase.Store(starting)
	reader, err := device.NewReader(a.Root)
	if err != nil {
		a.Log.WithError(err).Warn("the identity of the device is incomplete")
	}
	a.server = server.New(a.Log.Logger, a.health, func(err error) {
		select {
		case a.failures <- err:
		default: // one is enough to stop
		}
	})
	a.record = newRecorder(a.Log.Logger, reader, a.tables, config.Labels(a.Layers))
	a.crowd = &crowd{log: a.Log.Logger, events: a.record.events}
	a.process = &api.Process{
		Log:         a.Log,
		Health:      a.health,
		Device:      reader,
		Product:     a.Product,
		Document:    document,
		Uptime:      func() time.Duration { return time.Since(started) },
		Connections: a.server.Stats,
		Watchdog:    func() sd.WatchdogStats { return a.watchdog.Stats() },
		LastReload: func() api.Reload {
			if r := a.reload.Load(); r != nil {
				return *r
			}
			return api.Reload{}
		},
		Draining: func() bool { return a.phase.Load() == draining },
		Events:   a.record.events,
		Data:     a.record.data,
		Public:   a.record.public,
		Declared: os.Getenv(device.SandboxVariable),
	}
	a.warnOfSandbox()
	a.health.Ready("state", func() error {
		if p := a.phase.Load(); p != serving {
			return fmt.Errorf("%v", p)
		}
		return nil
	})
	a.health.Ready("data", a.record.ready)
	a.health.Ready("config", a.configReady)
	a.hung.Store(hungHandler{})
	a.health.Live("handlers", func() error { return a.hung.Load().(hungHandler).err })
	return a, nil
}

// own are the tables of the service itself, in the order of the documentation.
// Each is declared beside its owner.
var own = []config.Table{
	{Name: "server", New: func() edge.Settings { return server.DefaultSettings() }},
	{Name: "access", New: func() edge.Settings { return &api.Access{Hosts: []string{}} }},
	{Name: "log", New: func() edge.Settings { return log.DefaultSettings() }},
	{Name: "storage", New: func() edge.Settings { return &storage.Settings{} }},
}

// Tables are those of a service with the extensions. The error is about an
// extension.
func Tables(extensions []edge.Extension) ([]config.Table, error) {
	_, tables, err := check(extensions)
	return tables, err
}

// check holds the extensions to their contract, beside the service's own rows.
func check(extensions []edge.Extension) (*extension.Set, []config.Table, error) {
	set, err := extension.New(extensions)
	if err == nil {
		err = api.Check(set.Routes())
	}
	if err != nil {
		return nil, nil, err
	}
	return set, slices.Concat(own, set.Tables()), nil
}

// startExtensions is for before the first request.
func (a *App) startExtensions(ctx context.Context) error {
	if err := a.added.Start(ctx, a.Log.Logger, a.record.events.Record); err != nil {
		return err
	}
	a.endExtensions = a.added.Run(a.health, a.Log.Logger, a.record.events.Record)
	return nil
}

// stopExtensions ends their loops and checks, when no request runs any more.
func (a *App) stopExtensions() {
	if a.endExtensions == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := a.endExtensions(ctx); err != nil {
		a.Log.Warn(err)
	}
	a.endExtensions = nil
}
