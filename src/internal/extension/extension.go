// Package extension holds what a product adds to the service to its contract
// (package edge): what is wrong with it is found before the first request, or has
// an effect that is bounded and told.
package extension

import (
	"context"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
)

const (
	lowLimit  = time.Second
	highLimit = 10 * time.Minute

	maxChecks = 32
	maxLoops  = 32

	fieldExtension = "extension"
	fieldStack     = "stack" // which the API does not show
)

// Set are the extensions of a product.
type Set struct {
	all    []edge.Extension
	routes []edge.Route // and the files of the pages
}

// New checks what can be checked without running anything. The error names the
// extension and what is wrong with it.
func New(extensions []edge.Extension) (*Set, error) {
	s := &Set{all: extensions}
	seen := map[string]bool{}
	for _, e := range extensions {
		if err := check(e); err != nil {
			return nil, fmt.Errorf("extension %q: %w", e.Name, err)
		}
		if seen[e.Name] {
			return nil, fmt.Errorf("extension %q is there twice: each needs a name of its own", e.Name)
		}
		seen[e.Name] = true
		s.routes = append(s.routes, e.Routes...)
		files, err := page(e)
		if err != nil {
			return nil, fmt.Errorf("extension %q: %w", e.Name, err)
		}
		s.routes = append(s.routes, files...)
	}
	return s, nil
}

var (
	goodName = regexp.MustCompile(`^[a-z][a-z0-9-]{1,15}$`)
	goodKey  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

const (
	nameRule = "2 to 16 of a-z, 0-9 and -, with a letter first"
	keyRule  = "up to 64 of a-z, 0-9 and _, with a letter first"
)

func check(e edge.Extension) error {
	if !goodName.MatchString(e.Name) {
		return fmt.Errorf("the name is not %s", nameRule)
	}
	if e.Change != nil && e.Settings == nil {
		return fmt.Errorf("it has Change and no Settings, so Change would never be called")
	}
	if err := checkSettings(e); err != nil {
		return err
	}
	if err := checkRoutes(e); err != nil {
		return err
	}
	if n := len(e.Live) + len(e.Ready); n > maxChecks {
		return fmt.Errorf("it has %d checks; %d are allowed", n, maxChecks)
	}
	if n := len(e.Loops); n > maxLoops {
		return fmt.Errorf("it has %d loops; %d are allowed", n, maxLoops)
	}
	checks := names{}
	for _, c := range slices.Concat(e.Live, e.Ready) {
		if err := checks.add("check", c.Name, goodName, nameRule); err != nil {
			return err
		}
		if c.Run == nil {
			return fmt.Errorf("check %q has no Run", c.Name)
		}
	}
	loops := names{}
	for _, l := range e.Loops {
		if err := loops.add("loop", l.Name, goodName, nameRule); err != nil {
			return err
		}
		switch {
		case l.Run == nil:
			return fmt.Errorf("loop %q has no Run", l.Name)
		case l.Limit < lowLimit || l.Limit > highLimit:
			return fmt.Errorf("loop %q: Limit is %v; %v to %v are allowed", l.Name, l.Limit, lowLimit, highLimit)
		}
	}
	return nil
}

// names are those of one kind of thing, each of them once.
type names map[string]bool

func (n names) add(kind, name string, good *regexp.Regexp, rule string) error {
	switch {
	case !good.MatchString(name):
		return fmt.Errorf("%s %q: the name is not %s", kind, name, rule)
	case n[name]:
		return fmt.Errorf("%s %q is there twice", kind, name)
	}
	n[name] = true
	return nil
}

func checkSettings(e edge.Extension) error {
	if e.Settings == nil {
		return nil
	}
	settings := e.Settings()
	if settings == nil {
		return fmt.Errorf("its Settings returns nil")
	}
	keys := names{}
	for _, k := range settings.Keys() {
		if err := keys.add("key", k.Name, goodKey, keyRule); err != nil {
			return err
		}
		if k.Set == nil || k.Format == nil {
			return fmt.Errorf("key %q has no Set or no Format", k.Name)
		}
	}
	if err := settings.Check(); err != nil {
		return fmt.Errorf("its defaults do not pass its own Check: %w", err)
	}
	return nil
}

// checkRoutes leaves to package api what holds for every row.
func checkRoutes(e edge.Extension) error {
	own := "/api/v1/x/" + e.Name + "/"
	for _, r := range e.Routes {
		switch operation := r.Method + " " + r.Path; {
		case strings.Contains(r.Path, "*"):
			return fmt.Errorf("route %s: a path with * answers to names that nobody has listed; write the paths out, with /:name for a part", operation)
		case strings.HasPrefix(r.Path, "/ui/"):
			return fmt.Errorf("route %s: /ui/ has the pages; set Page", operation)
		case strings.HasPrefix(r.Path, "/api/") && !strings.HasPrefix(r.Path, own):
			return fmt.Errorf("route %s: below /api/ it has %s; move it there, or out of /api/", operation, own)
		case r.Summary == "":
			return fmt.Errorf("route %s: it has no Summary for the API document", operation)
		}
	}
	return nil
}

// Tables are those of the configuration.
func (s *Set) Tables() []config.Table {
	var tables []config.Table
	for _, e := range s.all {
		if e.Settings != nil {
			tables = append(tables, config.Table{Name: table(e), New: e.Settings})
		}
	}
	return tables
}

func table(e edge.Extension) string { return "x." + e.Name }

// Routes are the rows of all extensions, and those of their pages.
func (s *Set) Routes() []edge.Route { return s.routes }

// Change asks every extension whether it takes the configuration over. commit
// does it for all of them.
func (s *Set) Change(cfg *config.Config) (commit func(), err error) {
	var all []func()
	for _, e := range s.all {
		if e.Change == nil {
			continue
		}
		var one func()
		err := guard(func() (err error) {
			one, err = e.Change(cfg.Values(table(e)))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("extension %q refuses table [%s]: %w", e.Name, table(e), err)
		}
		if one != nil {
			all = append(all, one)
		}
	}
	return func() {
		for _, one := range all {
			one()
		}
	}, nil
}

// Start starts the extensions in their order.
func (s *Set) Start(ctx context.Context, log *logrus.Logger, record func(events.Event)) error {
	for _, e := range s.all {
		if e.Start == nil {
			continue
		}
		if err := guard(func() error { return e.Start(ctx, s.host(e, log, record)) }); err != nil {
			return fmt.Errorf("extension %q does not start: %w", e.Name, err)
		}
	}
	return nil
}

var severities = map[edge.Severity]events.Severity{edge.Info: events.Info, edge.Warning: events.Warning, edge.Error: events.Error}

func (s *Set) host(e edge.Extension, log *logrus.Logger, record func(events.Event)) *edge.Host {
	entry := log.WithField(fieldExtension, e.Name)
	return &edge.Host{
		Log: entry,
		Record: func(event edge.Event) {
			severity, ok := severities[event.Severity]
			if !goodName.MatchString(event.Kind) || !ok {
				entry.Errorf("event %q of severity %d is not recorded: the kind is not %s, or the severity is unknown", event.Kind, event.Severity, nameRule)
				return
			}
			record(events.Event{
				Kind: events.Kind(e.Name + "_" + event.Kind), Severity: severity, Message: event.Message, Fields: event.Fields,
			})
		},
	}
}

// panicked is the error that a panic becomes.
type panicked struct {
	cause any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.cause) }

// guard turns a panic of an extension into an error.
func guard(f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &panicked{cause, debug.Stack()}
		}
	}()
	return f()
}
