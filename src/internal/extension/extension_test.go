package extension

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/sirupsen/logrus"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

type settings struct {
	Pace time.Duration
	Bad  error
	keys []edge.Key
}

func (s *settings) Keys() []edge.Key {
	return append(s.keys, keys.Duration("pace", &s.Pace, time.Second, time.Hour))
}
func (s *settings) Check() error { return s.Bad }

func handler(*gin.Context) {}

func TestWhatIsRefused(t *testing.T) {
	run := func(context.Context, func()) error { return nil }
	check := func(context.Context) error { return nil }
	route := edge.Route{Method: "GET", Path: "/api/v1/x/acme/a", Role: edge.Anyone, Handle: handler, Summary: "A"}
	for want, change := range map[string]func(*edge.Extension){
		"":                     func(*edge.Extension) {},
		"the name is not 2 to": func(e *edge.Extension) { e.Name = "a_b" },
		"it has Change and no Settings": func(e *edge.Extension) {
			e.Settings, e.Change = nil, func(edge.Settings) (func(), error) { return nil, nil }
		},
		"its Settings returns nil": func(e *edge.Extension) { e.Settings = func() edge.Settings { return nil } },
		`key "pace" is there twice`: func(e *edge.Extension) {
			e.Settings = func() edge.Settings {
				var d time.Duration
				return &settings{keys: []edge.Key{keys.Duration("pace", &d, 0, 1)}}
			}
		},
		`key "Pace": the name is not`: func(e *edge.Extension) {
			e.Settings = func() edge.Settings { return &settings{keys: []edge.Key{{Name: "Pace"}}} }
		},
		`key "a" has no Set`: func(e *edge.Extension) {
			e.Settings = func() edge.Settings { return &settings{keys: []edge.Key{{Name: "a"}}} }
		},
		"its defaults do not pass its own Check: no": func(e *edge.Extension) {
			e.Settings = func() edge.Settings { return &settings{Bad: errors.New("no")} }
		},
		"below /api/ it has /api/v1/x/acme/": func(e *edge.Extension) { e.Routes[0].Path = "/api/v1/device/x" },
		"set Page":                           func(e *edge.Extension) { e.Routes[0].Path = "/ui/acme/x" },
		"a path with *":                      func(e *edge.Extension) { e.Routes[0].Path += "/*rest" },
		"it has no Summary":                  func(e *edge.Extension) { e.Routes[0].Summary = "" },
		`loop "l": the name is not`:          func(e *edge.Extension) { e.Loops = []edge.Loop{{Name: "l"}} },
		`loop "ll" has no Run`:               func(e *edge.Extension) { e.Loops = []edge.Loop{{Name: "ll"}} },
		`loop "ll": Limit is 0s; 1s to 10m`:  func(e *edge.Extension) { e.Loops = []edge.Loop{{Name: "ll", Run: run}} },
		`loop "ll" is there twice`: func(e *edge.Extension) {
			e.Loops = []edge.Loop{{Name: "ll", Limit: time.Second, Run: run}, {Name: "ll", Limit: time.Second, Run: run}}
		},
		`check "cc" has no Run`: func(e *edge.Extension) { e.Live = []edge.Check{{Name: "cc"}} },
		`check "c c": the name`: func(e *edge.Extension) { e.Ready = []edge.Check{{Name: "c c", Run: check}} },
		`check "cc" is there twice`: func(e *edge.Extension) {
			e.Live, e.Ready = []edge.Check{{Name: "cc", Run: check}}, []edge.Check{{Name: "cc", Run: check}}
		},
		"it has 33 checks; 32 are allowed":   func(e *edge.Extension) { e.Live = make([]edge.Check, 33) },
		"it has 33 loops; 32 are allowed":    func(e *edge.Extension) { e.Loops = make([]edge.Loop, 33) },
		`page: x.exe: files that end in ".e`: func(e *edge.Extension) { e.Page = fstest.MapFS{"x.exe": {}} },
		"more than 256 files or 4 MiB":       func(e *edge.Extension) { e.Page = fstest.MapFS{"a.js": {Data: make([]byte, 5<<20)}} },
	} {
		e := edge.Extension{Name: "acme", Routes: []edge.Route{route}, Settings: func() edge.Settings { return &settings{} }}
		change(&e)
		_, err := New([]edge.Extension{e})
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), "extension ") || !strings.Contains(err.Error(), want)):
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := New([]edge.Extension{{Name: "acme"}, {Name: "acme"}}); err == nil || !strings.Contains(err.Error(), "is there twice") {
		t.Errorf("error %v", err)
	}
}

// All extensions take a configuration over, or none does.
func TestChangeIsAllOrNothing(t *testing.T) {
	var taken []string
	var refuse error
	extension := func(name string, err *error) edge.Extension {
		return edge.Extension{
			Name: name, Settings: func() edge.Settings { return &settings{Pace: time.Second} },
			Change: func(s edge.Settings) (func(), error) {
				if *err != nil && (*err).Error() == "panic" {
					panic("at the disco")
				}
				return func() { taken = append(taken, name+" "+s.(*settings).Pace.String()) }, *err
			},
		}
	}
	var never error
	s, err := New([]edge.Extension{extension("first", &never), {Name: "none"}, extension("second", &refuse)})
	if err != nil {
		t.Fatal(err)
	}
	load := func(text string) *config.Config {
		c := config.Default(s.Tables())
		if err := c.Merge("f", []byte(text)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for want, cause := range map[string]error{
		`extension "second" refuses table [x.second]: no`:                  errors.New("no"),
		`extension "second" refuses table [x.second]: panic: at the disco`: errors.New("panic"),
	} {
		refuse = cause
		if _, err := s.Change(load("")); err == nil || err.Error() != want || len(taken) > 0 {
			t.Errorf("error %v, taken %v", err, taken)
		}
	}
	refuse = nil
	commit, err := s.Change(load("x.second.pace = \"5s\""))
	if err != nil {
		t.Fatal(err)
	}
	if commit(); strings.Join(taken, ", ") != "first 1s, second 5s" {
		t.Errorf("taken %v", taken)
	}
	if err := config.Default(s.Tables()).Merge("f", []byte("[x.second]\npaec = \"5s\"")); err == nil || err.Error() != "f:2: key x.second.paec: unknown key; did you mean x.second.pace?" {
		t.Error(err)
	}
}

func TestStart(t *testing.T) {
	var recorded []events.Event
	var out servicetest.Buffer
	log := servicetest.TextLogger(&out)
	record := func(e events.Event) { recorded = append(recorded, e) }
	s, err := New([]edge.Extension{{Name: "first", Start: func(_ context.Context, host *edge.Host) error {
		host.Log.Info("hello")
		host.Record(edge.Event{Kind: "led-broken", Severity: edge.Error, Message: "m", Fields: map[string]string{"a": "b"}})
		host.Record(edge.Event{Kind: "Bad Kind"})
		host.Record(edge.Event{Kind: "good", Severity: 9})
		return nil
	}}, {Name: "second", Start: func(context.Context, *edge.Host) error { panic("no device") }}})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Start(t.Context(), log, record)
	if err == nil || err.Error() != `extension "second" does not start: panic: no device` {
		t.Error(err)
	}
	if len(recorded) != 1 || recorded[0].Kind != "first_led-broken" || recorded[0].Severity != events.Error || recorded[0].Message != "m" || recorded[0].Fields["a"] != "b" {
		t.Errorf("recorded %+v", recorded)
	}
	if text := out.String(); !strings.Contains(text, "extension=first") || strings.Count(text, "is not recorded") != 2 {
		t.Error(text)
	}
}

// started runs the extension and returns what /livez and /readyz say.
func started(t *testing.T, e edge.Extension, record func(events.Event)) *health.Registry {
	t.Helper()
	servicetest.NoLeaks(t)
	s, err := New([]edge.Extension{e})
	if err != nil {
		t.Fatal(err)
	}
	registry := &health.Registry{}
	if record == nil {
		record = func(events.Event) {}
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	end := s.Run(registry, log, record)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := end(ctx); err != nil {
			t.Error(err)
		}
	})
	return registry
}

func find(t *testing.T, r health.Report, name string) health.Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s in %+v", name, r)
	return health.Check{}
}

// A check that hangs, panics or fails does so without its askers.
func TestChecks(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	registry := started(t, edge.Extension{
		Name: "acme",
		Live: []edge.Check{
			{Name: "fine", Run: func(context.Context) error { return nil }},
			{Name: "panics", Run: func(context.Context) error { panic("x") }},
		},
		Ready: []edge.Check{
			{Name: "poor", Run: func(context.Context) error { return edge.Degraded(errors.New("no sensor")) }},
			{Name: "bad", Run: func(context.Context) error { return errors.New("broken") }},
			{Name: "hangs", Run: func(context.Context) error { <-release; return nil }},
		},
	}, nil)
	begin := time.Now()
	live, ready := registry.LiveReport(), registry.ReadyReport()
	if took := time.Since(begin); took > 100*time.Millisecond {
		t.Errorf("the reports took %v", took)
	}
	if len(live.Checks) != 2 || live.OK() || !find(t, live, "acme/fine").OK {
		t.Errorf("%+v", live)
	}
	for name, want := range map[string]health.Check{
		"acme/panics": {Detail: "panic: x"}, "acme/poor": {Degraded: true, Detail: "no sensor"}, "acme/bad": {Detail: "broken"},
		"acme/hangs": {Detail: "the check has not returned for 1 s"},
	} {
		want.Name = name
		if got := find(t, ready, name); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

// A loop that ends before its time is begun again, and the service says so.
func TestLoopThatFails(t *testing.T) {
	recorded := make(chan events.Event, 10)
	runs := make(chan int, 10)
	n := 0
	registry := started(t, edge.Extension{Name: "acme", Loops: []edge.Loop{{Name: "sensors", Limit: time.Second, Run: func(ctx context.Context, beat func()) error {
		n++
		runs <- n
		switch n {
		case 1:
			panic("index out of range")
		case 2:
			return errors.New("no device")
		}
		<-ctx.Done() // it does not beat
		return nil
	}}}}, func(e events.Event) { recorded <- e })
	for _, want := range []string{"panic: index out of range; it is begun again after 1s", "no device; it is begun again after 2s"} {
		e := <-recorded
		if e.Kind != "acme_loop" || e.Severity != events.Error || e.Message != "loop acme/sensors has ended: "+want {
			t.Errorf("event %+v", e)
		}
		<-runs
		// While it pauses it is alive, and the device does its work.
		if c := find(t, registry.LiveReport(), "loop/acme/sensors"); !c.OK {
			t.Errorf("%+v", c)
		}
		if c := find(t, registry.ReadyReport(), "acme/sensors"); !c.Degraded || !strings.HasSuffix(c.Detail, want) {
			t.Errorf("%+v", c)
		}
	}
	<-runs
	time.Sleep(1200 * time.Millisecond)
	if c := find(t, registry.LiveReport(), "loop/acme/sensors"); c.OK {
		t.Error("a loop that does not beat passes")
	}
}

func TestLoopThatDoesNotEnd(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s, err := New([]edge.Extension{{Name: "acme", Loops: []edge.Loop{{Name: "sticky", Limit: time.Second, Run: func(context.Context, func()) error {
		close(begun)
		<-release
		return nil
	}}}}})
	if err != nil {
		t.Fatal(err)
	}
	end := s.Run(&health.Registry{}, logrus.New(), nil)
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := end(ctx); err == nil || !strings.Contains(err.Error(), "left behind") {
		t.Error(err)
	}
	close(release)
	if err := end(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPage(t *testing.T) {
	s, err := New([]edge.Extension{{Name: "acme", Page: fstest.MapFS{"index.html": {Data: []byte("<p>")}, "js/app.js": {Data: []byte("1")}}}})
	if err != nil {
		t.Fatal(err)
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	for _, row := range s.Routes() {
		engine.Handle(row.Method, row.Path, row.Handle)
	}
	get := func(path, tag string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("If-None-Match", tag)
		engine.ServeHTTP(w, r)
		return w
	}
	for path, want := range map[string]string{"/ui/acme/": "<p>", "/ui/acme/index.html": "<p>", "/ui/acme/js/app.js": "1"} {
		w := get(path, "")
		h := w.Header()
		if w.Code != http.StatusOK || w.Body.String() != want || !strings.HasPrefix(h.Get("Content-Type"), "text/") || h.Get("Content-Security-Policy") != pagePolicy {
			t.Errorf("%s: %d %q %v", path, w.Code, w.Body, h)
		}
		if w := get(path, h.Get("ETag")); w.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", path, w.Code)
		}
	}
	if w := get("/ui/acme/none.js", ""); w.Code != http.StatusNotFound {
		t.Errorf("a file that is not there: %d", w.Code)
	}
}
