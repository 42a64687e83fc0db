// Package edge holds what a service on the device is made of: types, next to no
// logic, and no import of the service's own packages. A product brings an
// Extension and hands it to edged.Main; the resources of the device API are made
// of the same rows.
package edge

import (
	"context"
	"io/fs"
	"time"

	"github.com/sirupsen/logrus"
)

// Product says what is built from this module.
type Product struct {
	// Name is that of the command, in messages and in /api/v1/device.
	Name string
	// Version is that of the product; "" is the one that the linker has set,
	// -X …/src/edged.version=1.2.3.
	Version string
}

// Extension is what a product adds to the service. Only Name is required.
//
// The order of its life: Change with the settings of the start, Start, the loops
// and the first request; Change again with each reload. At the end the requests
// drain and the context of the loops ends, in this order.
type Extension struct {
	// Name is 2 to 16 of a-z, 0-9 and -, with a letter first. The extension has
	// the paths below /api/v1/x/NAME/ and all that are not below /api/, the table
	// [x.NAME] of the configuration, and its name before that of each check, loop
	// and event.
	Name string

	// Settings returns a new value with the defaults of [x.NAME]; nil: there is no
	// such table. It is called for each load, so that a file which is refused has
	// changed nothing.
	Settings func() Settings
	// Change prepares to take the settings over. When every extension has agreed,
	// commit is called, which cannot fail; else none is, and what was in force
	// stays so. The error refuses the start or the reload. commit may be nil.
	Change func(Settings) (commit func(), err error)

	// Start is called once, before the first request. An error refuses the start.
	Start func(ctx context.Context, host *Host) error

	Routes []Route
	Loops  []Loop
	// Live are checks of /livez. One that fails has the watchdog restart the
	// service, and after some restarts the device, so it must depend on neither
	// network nor sensor: on what a restart repairs.
	Live []Check
	// Ready are checks of /readyz and of the status; see Degraded.
	Ready []Check

	// Page is served below /ui/NAME/, index.html for the folder itself: files for
	// a browser, without inline scripts or styles, and from nowhere else.
	Page fs.FS
}

// Check is one line of a health report. One that does not return within a second
// counts as failed, with that as its reason, until it does; so does one that
// panics. Name is like that of an extension.
type Check struct {
	Name string
	Run  func(context.Context) error
}

// Loop is a goroutine that the watchdog knows. Run calls beat at least once per
// Limit; when it does not, /livez fails, and the watchdog restarts the service.
// Run that returns before its context has ended, or panics, is begun again after
// a pause that grows; meanwhile the service is degraded, and an event says why.
// Name is like that of an extension, Limit from 1 s to 10 min.
type Loop struct {
	Name  string
	Limit time.Duration
	Run   func(ctx context.Context, beat func()) error
}

// Degraded marks the error of a Ready check as one with which the service still
// does its work, only less of it: /readyz answers 200.
func Degraded(err error) error { return degraded{err} }

type degraded struct{ error }

func (degraded) Degraded() bool  { return true }
func (d degraded) Unwrap() error { return d.error }

// Host is what the service gives to an extension.
type Host struct {
	// Log writes to the journal and to /api/v1/logs, with the name of the
	// extension in the field "extension".
	Log *logrus.Entry
	// Record adds to the log of critical events, which outlives a cut of the
	// power. It returns at once. Of many events some are suppressed, and counted.
	Record func(Event)
}

// Event is something that must still be known after a loss of power.
type Event struct {
	Kind     string // like the name of an extension; recorded as NAME_KIND
	Severity Severity
	Message  string            // up to 1 KiB
	Fields   map[string]string // up to 512 bytes each
}

// Severity says how bad an event is.
type Severity int

// The severities. Those of an extension end below critical, which is the
// service's own: an extension cannot push these out.
const (
	Info Severity = iota
	Warning
	Error
)
