// Package app is the life of the process: start, reload, drain.
package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/api"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/extension"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/sd"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
)

const (
	socketName = "http" // FileDescriptorName= of the socket unit

	// The main loop does nothing that blocks. When it hangs, the last good check
	// is 2.5 s later at most; with the 7 s of the watchdog and a start that makes
	// less than 12 s.
	mainBeat  = 500 * time.Millisecond
	mainLimit = 2 * time.Second

	// startTimeout is how long the first request to ourselves may take. The
	// slowest device has a full processor while it boots.
	startTimeout = 20 * time.Second

	// stopSlack is what the shutdown needs beyond its two configured times:
	// refused connections, and closing what is left.
	stopSlack = 5 * time.Second
)

// Options are what a process is started with.
type Options struct {
	Layers     []config.Layer
	Product    edge.Product
	Extensions []edge.Extension
	Log        *log.Log
	Root       fs.FS          // the device; os.DirFS("/") but in tests
	Hangup     chan os.Signal // each value asks for a reload
}

// App is one run of the service.
type App struct {
	Options
	process  *api.Process
	health   *health.Registry
	server   *server.Server
	watchdog *sd.Watchdog
	failures chan error // of accept loops
	record   *recorder
	crowd    *crowd
	tables   []config.Table
	added    *extension.Set

	endExtensions func(context.Context) error // nil before they run

	loaded    atomic.Pointer[config.Config] // in force
	keeping   chan struct{}                 // holds a value while copies of layers are written
	activated bool                          // systemd passed the sockets
	phase     atomic.Value
	hung      atomic.Value // hungHandler
	reload    atomic.Pointer[api.Reload]
	swap      sync.Mutex // a reload must not swap once the drain has begun
}

// hungHandler is what the main loop has found last.
type hungHandler struct{ err error }

type phase string

const (
	starting phase = "starting"
	serving  phase = "serving"
	draining phase = "draining"
)

// Run serves until ctx ends and then drains. It returns nil after a drain, and
// an error of one line when the start failed or the service broke.
func Run(ctx context.Context, options Options) error {
	a, err := newApp(options)
	if err != nil {
		return err
	}
	return a.run(ctx)
}

// warnOfSandbox tells of limits that the unit declares and nobody enforces:
// systemd leaves them out without a word.
func (a *App) warnOfSandbox() {
	sandbox, err := a.process.Device.Sandbox(a.process.Declared)
	for _, m := range sandbox.Missing {
		a.Log.WithField("limit", m.Limit).Warnf("%s is declared for this service and not in force: %s", m.Limit, m.Remedy)
	}
	if err != nil && len(sandbox.Declared) > 0 {
		a.Log.WithError(err).Warn("what confines the service is known in part only")
	}
}

func (a *App) run(ctx context.Context) error {
	unlock, err := lockRuntime(os.Getenv("RUNTIME_DIRECTORY"))
	if err != nil {
		return err
	}
	defer unlock()
	defer a.record.begin(ctx)()
	if a.watchdog, err = sd.NewWatchdog(a.selfCheck, a.watchdogFailed, a.watchdogPassed); err != nil {
		return err
	}
	if err := a.start(ctx); err != nil {
		a.server.Close()
		a.stopExtensions()
		if errors.Is(err, errStopped) {
			return nil
		}
		a.record.startRefused(err)
		return err
	}

	// Whoever asks after READY is told of the main loop, too.
	beat := a.health.Loop("main", mainLimit)
	if ctx.Err() == nil { // else asked to stop while starting
		a.announce()
	}

	// The watchdog outlives ctx: it goes on while the drain still accepts.
	watchdogCtx, stopWatchdog := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatchdog()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		a.watchdog.Run(watchdogCtx)
		return nil
	})
	group.Go(func() error {
		defer stopWatchdog()
		err := a.loop(groupCtx, group, beat)
		a.drain(stopWatchdog)
		return err
	})
	return group.Wait()
}

// errStopped says that the service was asked to stop before it had started: that
// is no failure.
var errStopped = errors.New("asked to stop while starting")

// start brings the first generation into force and waits until it has answered.
func (a *App) start(ctx context.Context) error {
	cfg, err := config.LoadStart(ctx, a.tables, a.Layers)
	if ctx.Err() != nil {
		return errStopped
	}
	if err != nil {
		a.record.expectFromGoodLayers(ctx, a.Layers)
		return err
	}
	a.record.expect(cfg)
	commit, err := a.added.Change(cfg)
	if err != nil {
		return err
	}
	listeners, others, err := sd.Sockets(socketName)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		a.Log.Warnf("systemd passed sockets that are not used: %s; only those with FileDescriptorName=%s are", strings.Join(others, ", "), socketName)
	}
	a.activated = len(listeners) > 0
	settings := config.Of[*server.Settings](cfg)
	if source := cfg.Origin("server.listen"); a.activated && source != "" && !settings.HasDefaultListen() {
		a.Log.Warnf("server.listen of %s has no effect: systemd passes the sockets; change ListenStream= of gin-edged-http.socket", source)
	}
	var change *server.Change
	if a.activated {
		change, err = a.server.Adopt(listeners)
	} else {
		change, err = a.server.Open(settings.Listen, listenSource(cfg))
	}
	if err != nil {
		return err
	}
	commit()
	if err := a.startExtensions(ctx); err != nil {
		change.Abort()
		return err
	}
	a.server.Swap(a.build(1, cfg), change)
	a.tookOver(cfg)

	checkCtx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := a.selfCheck(checkCtx); err != nil {
		if ctx.Err() != nil {
			return nil // the generation is there, so it drains
		}
		return fmt.Errorf("the service does not answer itself: %w", err)
	}
	return nil
}

// announce says READY.
func (a *App) announce() {
	a.phase.Store(serving)
	a.log(sd.Ready(a.statusLine()))
	a.Log.WithField("version", a.Product.Version).Info(a.statusLine())
	a.record.started(a.Product.Version)
}

// build makes a generation and applies what it changes in the process.
func (a *App) build(number uint64, cfg *config.Config) *server.Generation {
	inForce := config.Of[*server.Settings](cfg)
	settings := api.Settings{
		Number:       number,
		MaxBodyBytes: int64(inForce.MaxBodyBytes),
		Routes:       a.added.Routes(),
		Hosts:        config.Of[*api.Access](cfg).Hosts,
	}
	for _, source := range cfg.Sources {
		settings.Sources = append(settings.Sources, a.record.public(source))
	}
	for _, skipped := range cfg.Skipped {
		settings.Skipped = append(settings.Skipped, a.record.public(skipped.String()))
	}
	for _, warning := range cfg.Warnings {
		settings.Warnings = append(settings.Warnings, a.record.public(warning))
	}
	handler := api.New(a.process, settings)
	a.setLevel(cfg)
	return server.NewGeneration(number, inForce, handler)
}

func (a *App) setLevel(cfg *config.Config) {
	level, err := logrus.ParseLevel(config.Of[*log.Settings](cfg).Level)
	if err != nil {
		panic(err) // config allows names that logrus knows
	}
	a.Log.SetLevel(level)
}

// tookOver notes which configuration is in force and says what is to be said of
// its files.
func (a *App) tookOver(cfg *config.Config) {
	a.loaded.Store(cfg)
	for _, warning := range cfg.Warnings {
		a.Log.Warn(warning)
	}
	for _, skipped := range cfg.Skipped {
		a.Log.Error("started without a layer of the configuration: " + skipped.String())
		a.record.skipped(skipped)
	}
	// On a medium that hangs this does not end, and nobody waits for it.
	select {
	case a.keeping <- struct{}{}:
	default:
		return // the next reload or start does
	}
	go func() {
		defer func() { <-a.keeping }()
		if err := cfg.KeepCopies(); err != nil {
			a.Log.WithError(err).Warn("the last good copy of the configuration on the data partition could not be kept")
		}
	}()
}

// configReady is what /readyz says of the configuration.
func (a *App) configReady() error {
	cfg := a.loaded.Load()
	if cfg == nil || len(cfg.Skipped) == 0 {
		return nil
	}
	var all []string
	for _, skipped := range cfg.Skipped {
		all = append(all, a.record.public(skipped.String()))
	}
	return health.Degraded(errors.New(strings.Join(all, "; ")))
}

func listenSource(cfg *config.Config) string {
	if source := cfg.Origin("server.listen"); source != "" {
		return source
	}
	return "/etc/gin-edge/gin-edged.toml"
}

// loop is the main loop: it beats and reloads until ctx ends or an accept loop
// fails.
func (a *App) loop(ctx context.Context, group *errgroup.Group, beat *health.Loop) error {
	defer beat.End()
	ticker := time.NewTicker(mainBeat)
	defer ticker.Stop()
	hangup := a.Hangup
	reloaded := make(chan struct{}, 1)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-a.failures:
			a.Log.WithError(err).Log(log.Critical, "an accept loop has failed")
			a.record.acceptFailed(err)
			return err
		case <-ticker.C:
			beat.Beat()
			a.record.watchData()
			a.record.watchFirewall()
			a.crowd.watch(time.Now(), a.server.Stats())
			a.hung.Store(hungHandler{a.server.Hung()})
		case <-hangup:
			// Files may be on a slow medium, so the reload has a goroutine. The
			// next request waits in the channel until this one has ended.
			hangup = nil
			group.Go(func() error {
				a.doReload(ctx)
				reloaded <- struct{}{}
				return nil
			})
		case <-reloaded:
			hangup = a.Hangup
		}
	}
}

// doReload loads the configuration anew, all or nothing.
func (a *App) doReload(ctx context.Context) {
	a.log(sd.Reloading("reloading the configuration"))
	cfg, err := a.reloadConfig(ctx)
	if ctx.Err() != nil {
		return // the service stops, and says so
	}
	if err == nil {
		a.record.expect(cfg)
	}
	outcome := &api.Reload{At: time.Now()}
	if err != nil {
		outcome.Error = a.record.public(err.Error())
	}
	a.reload.Store(outcome)
	a.record.reloaded(err)
	if err != nil {
		a.Log.WithError(err).Error("reload refused, the old configuration stays in force")
	} else {
		a.Log.WithField("generation", a.server.Generation().Number).Info("configuration reloaded: " + a.statusLine())
	}
	a.swap.Lock()
	defer a.swap.Unlock()
	if a.phase.Load() != draining { // READY would take STOPPING back
		a.log(sd.Ready(a.statusLine()))
	}
}

func (a *App) reloadConfig(ctx context.Context) (*config.Config, error) {
	cfg, err := config.LoadContext(ctx, a.tables, a.Layers)
	if err != nil {
		return nil, err
	}
	// Without the lock: what an extension does here may take its time.
	commit, err := a.added.Change(cfg)
	if err != nil {
		return nil, err
	}
	a.swap.Lock()
	defer a.swap.Unlock()
	if a.phase.Load() == draining {
		return nil, errors.New("the service is stopping")
	}
	var change *server.Change
	if !a.activated {
		if change, err = a.server.Open(config.Of[*server.Settings](cfg).Listen, listenSource(cfg)); err != nil {
			return nil, err
		}
	}
	commit()
	a.server.Swap(a.build(a.server.Generation().Number+1, cfg), change)
	a.tookOver(cfg)
	return cfg, nil
}

// drain ends the service in the order in which clients notice least: not
// ready, then no new connections, then no connections.
func (a *App) drain(stopWatchdog func()) {
	a.swap.Lock()
	a.phase.Store(draining)
	a.swap.Unlock()
	a.server.Generation().EndStreams() // clients come back when there is someone to answer
	cfg := a.server.Generation().Settings
	a.log(sd.Stopping(fmt.Sprintf("draining: not ready, still accepting for %v", cfg.DrainDelay), cfg.DrainDelay+cfg.DrainTimeout+stopSlack))
	a.Log.Info("stopping: draining connections")
	a.record.stopping()
	time.Sleep(cfg.DrainDelay)

	// From here on a request to ourselves has no one to answer it.
	stopWatchdog()
	a.server.CloseSockets()
	a.log(sd.Status(fmt.Sprintf("draining: running requests have %v to finish", cfg.DrainTimeout)))
	ctx, cancel := context.WithTimeout(context.Background(), cfg.DrainTimeout)
	defer cancel()
	if err := a.server.Drain(ctx); err != nil {
		a.Log.Warn(err)
	}
	a.stopExtensions()
	a.Log.Info("stopped")
}

// selfCheck makes a request for /livez through the server and the handlers
// that are in force. Its answer covers the loops.
func (a *App) selfCheck(ctx context.Context) error {
	status, body, err := a.server.SelfRequest(ctx, "/livez")
	if err != nil {
		return fmt.Errorf("GET /livez: %w", err)
	}
	var report health.Report
	if err := json.Unmarshal(body, &report); err != nil || status != http.StatusOK || !report.OK() {
		if failed := report.Failed(); failed != "" {
			return errors.New(failed)
		}
		return fmt.Errorf("GET /livez: status %d, not a good report", status)
	}
	return nil
}

func (a *App) watchdogFailed(err error) {
	a.Log.Log(log.Critical, "watchdog not fed: "+err.Error())
	a.log(sd.Status("watchdog not fed: " + err.Error()))
	a.record.watchdogFailed(err)
}

func (a *App) watchdogPassed() {
	a.Log.Warn("watchdog fed again")
	a.record.watchdogPassed()
	a.log(sd.Status(a.statusLine()))
}

func (a *App) statusLine() string {
	var addrs []string
	for _, addr := range a.server.Addrs() {
		addrs = append(addrs, addr.String())
	}
	line := "serving on " + strings.Join(addrs, ", ")
	if r := a.reload.Load(); r != nil && r.Error != "" {
		line += "; last reload refused: " + r.Error
	}
	if cfg := a.loaded.Load(); cfg != nil {
		for _, skipped := range cfg.Skipped {
			line += "; degraded: " + skipped.String()
		}
	}
	return line
}

// log records that systemd could not be told something. The service goes on:
// systemd acts by itself on what it does not hear.
func (a *App) log(err error) {
	if err != nil {
		a.Log.Warn(err)
	}
}
