package app

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

const (
	// expectTimeout is how long a start or a reload waits for the first look at
	// the data partition, closeTimeout how long a stop waits for the events that
	// are still to be written. A disk that does not answer costs this, no more.
	expectTimeout = 500 * time.Millisecond
	closeTimeout  = 2 * time.Second
)

// recorder writes what happens to this process, and to the data partition, into
// the log of critical events.
type recorder struct {
	log     *logrus.Logger
	tables  []config.Table
	label   func(string) string // see config.Labels
	device  *device.Reader
	events  *events.Log
	monitor *storage.Monitor

	// Of the main loop.
	state      storage.State // that was recorded
	storeError string        // that was logged, without its figures
	firewall   device.FirewallState

	// Of the goroutine of the watchdog.
	failing  string // what failed, without its figures
	failures int
}

func newRecorder(log *logrus.Logger, reader *device.Reader, tables []config.Table, label func(string) string) *recorder {
	r := &recorder{log: log, tables: tables, label: label, device: reader}
	bootID, _ := reader.BootID() // "": one of /proc is not readable, and says so elsewhere
	r.events = events.New(events.Options{
		BootID: bootID,
		Uptime: func() float64 {
			seconds, _ := reader.Uptime()
			return seconds
		},
	})
	r.monitor = storage.New(r.checked)
	return r
}

// begin starts the recording with the boot. The function that it returns ends
// it.
func (r *recorder) begin(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go r.events.Run()
	go r.monitor.Run(ctx)
	r.boot()
	return func() {
		cancel()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := r.events.Close(ctx); err != nil {
			r.log.Warn(err)
		}
		select {
		case <-r.monitor.Done():
		case <-ctx.Done():
		}
	}
}

// expect takes storage.data over from the configuration.
func (r *recorder) expect(cfg *config.Config) {
	ctx, cancel := context.WithTimeout(context.Background(), expectTimeout)
	defer cancel()
	r.monitor.Expect(ctx, config.Of[*storage.Settings](cfg).Data)
}

// expectFromGoodLayers is for a start that a bad layer refuses: those below it
// say where that can be recorded.
func (r *recorder) expectFromGoodLayers(ctx context.Context, layers []config.Layer) {
	for n := len(layers) - 1; n > 0; n-- {
		if cfg, err := config.LoadStart(ctx, r.tables, layers[:n]); err == nil {
			r.expect(cfg)
			return
		}
	}
}

// checked is called by the monitor after each look, so that the events find
// their way to the disk when it is there again.
func (r *recorder) checked(report storage.Report) {
	switch report.State {
	case storage.None, storage.Missing:
		// Not below an empty mount point: that would be another disk.
		r.events.Use("")
	case storage.Failed: // as it was: the next look may find it well
	default:
		r.events.Use(filepath.Join(report.Path, "gin-edge", "state", "events"))
	}
}

// data is the state of the data partition. statfs is answered from memory, and
// so well while the medium hangs; a write of the event log that does not end
// tells.
func (r *recorder) data() storage.Report {
	report := r.monitor.Report()
	if stuck := r.events.Stuck(); stuck > 0 && report.State != storage.None {
		report.State, report.Detail = storage.Failed, fmt.Sprintf("no answer from the disk for %.0f s", stuck.Seconds())
	}
	return report
}

func (r *recorder) ready() error {
	if err := r.data().Err(); err != nil {
		return health.Degraded(err)
	}
	return nil
}

// watchData records each change of the data partition's state. What the event
// log has against its disk goes to the journal alone.
func (r *recorder) watchData() {
	report := r.data()
	if text := r.events.Stats().Error; withoutDigits(text) != r.storeError {
		r.storeError = withoutDigits(text)
		if text != "" {
			r.log.Error("critical events stay in memory: " + text)
		} else {
			r.log.Info("critical events are stored again")
		}
	}
	fault := ""
	if err := report.Err(); err != nil {
		fault = "the data partition is not as expected: " + err.Error()
	}
	r.transition((*string)(&r.state), string(report.State), events.DataPartition, events.Error, "the data partition is as expected again", fault)
}

// watchFirewall records each change of the packet filter's state.
func (r *recorder) watchFirewall() {
	f := r.device.Firewall()
	fault := ""
	switch f.State {
	case device.FirewallUnknown:
		// Of this process, and the status says so. The filter is as it was.
		return
	case device.FirewallInForce, device.FirewallNone:
	default:
		fault = "the packet filter is not in force: " + f.Detail
	}
	r.transition((*string)(&r.firewall), string(f.State), events.Firewall, events.Critical, "the packet filter is in force again", fault)
}

// transition records that a state is another than was, which it replaces. A good
// one, without a fault, is nothing to tell of when it is the first.
func (r *recorder) transition(was *string, now string, kind events.Kind, severity events.Severity, mended, fault string) {
	if now == *was || *was == "" && fault == "" {
		return
	}
	*was = now
	e := events.Event{Kind: kind, Severity: events.Info, Message: mended, Fields: map[string]string{"state": now}}
	level := logrus.InfoLevel
	if fault != "" {
		e.Severity, e.Message, level = severity, fault, logrus.ErrorLevel
		if severity == events.Critical {
			level = log.Critical
		}
	}
	r.log.Log(level, e.Message)
	r.events.Record(e)
}

func (r *recorder) boot() {
	reset := r.device.LastReset()
	e := events.Event{Kind: events.Boot, Severity: events.Warning, Message: "boot; cause of the reset: " + reset.Cause,
		Fields: map[string]string{"cause": reset.Cause, "detail": reset.Detail}}
	switch reset.Cause {
	case "reboot", "poweroff", "first-boot":
		e.Severity = events.Info
	}
	if reset.Boots > 0 {
		e.Fields["boots"] = strconv.FormatUint(reset.Boots, 10)
	}
	r.events.Record(e)
}

func (r *recorder) started(version string) {
	r.events.Record(events.Event{Kind: events.ServiceStart, Severity: events.Info, Message: "the service has started",
		Fields: map[string]string{"version": version}})
}

func (r *recorder) startRefused(err error) {
	r.events.Record(events.Event{Kind: events.StartRefused, Severity: events.Error, Message: "the service did not start: " + r.public(err.Error())})
}

// public is a text for the API, in which the files of the configuration have
// their labels and not their paths. The journal has those.
func (r *recorder) public(text string) string { return r.label(text) }

func (r *recorder) skipped(s config.Skipped) {
	r.events.Record(events.Event{Kind: events.ConfigSkipped, Severity: events.Error,
		Message: "the service has started without a layer of its configuration: " + r.public(s.String())})
}

func (r *recorder) stopping() {
	r.events.Record(events.Event{Kind: events.ServiceStop, Severity: events.Info, Message: "the service stops: it drains its connections"})
}

func (r *recorder) acceptFailed(err error) {
	r.events.Record(events.Event{Kind: events.AcceptFailed, Severity: events.Critical, Message: "an accept loop has failed: " + err.Error()})
}

func (r *recorder) reloaded(err error) {
	e := events.Event{Kind: events.ConfigReload, Severity: events.Info, Message: "the configuration was reloaded"}
	if err != nil {
		e.Severity, e.Message = events.Warning, "a reload of the configuration was refused: "+r.public(err.Error())
	}
	r.events.Record(e)
}

// watchdogFailed is called at every tick that fails; the first and those where
// something else fails are recorded.
func (r *recorder) watchdogFailed(err error) {
	r.failures++
	failing := withoutDigits(err.Error())
	if failing == r.failing {
		return
	}
	r.failing = failing
	r.events.Record(events.Event{Kind: events.Watchdog, Severity: events.Critical, Message: "watchdog not fed: " + err.Error(),
		Fields: map[string]string{"failures": strconv.Itoa(r.failures)}})
}

// withoutDigits makes messages alike that differ in the seconds they count.
func withoutDigits(s string) string {
	return strings.Map(func(c rune) rune {
		if '0' <= c && c <= '9' {
			return -1
		}
		return c
	}, s)
}

func (r *recorder) watchdogPassed() {
	r.events.Record(events.Event{Kind: events.Watchdog, Severity: events.Warning, Message: "watchdog fed again",
		Fields: map[string]string{"failures": strconv.Itoa(r.failures)}})
	r.failing, r.failures = "", 0
}
