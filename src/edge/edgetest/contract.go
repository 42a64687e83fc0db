package edgetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/problem"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

const (
	// observe is how long the loops are looked at, each with its own limit.
	observe = 3 * time.Second
	// promptly is how long an answer may take that is not a stream.
	promptly = 2 * time.Second
	reloads  = 5
)

// Run holds an extension to its contract, as part of a service with its defaults:
//
//   - the service starts, is live, and stays so; it is ready, or degraded;
//   - every route is in the API document, with its role;
//   - a route that asks for a role is closed to whoever has none;
//   - what needs no role answers promptly and not with 5xx, HEAD like GET; an unknown
//     query, and a body that is none of JSON or too large, are refused; other hosts and the pages of
//     other sites are refused;
//   - the table of the configuration prints so that it reads back, and refuses
//     unknown keys and wrong types;
//   - reloads lose no request;
//   - the end is clean: no goroutine is left.
//
// make returns the extension as a new service has it. configuration (TOML) is for
// what has no default that works on this machine. Run must not be called in a
// parallel test.
func Run(t *testing.T, make func() edge.Extension, configuration ...string) {
	t.Helper()
	servicetest.NoLeaks(t)
	text := strings.Join(configuration, "\n")
	e := make()
	s := Start(t, text, e)
	for _, c := range contract {
		t.Run(c.name, func(t *testing.T) {
			if err := c.check(subject{s, e, text}); err != nil {
				t.Error(err)
			}
		})
	}
}

type subject struct {
	*Service
	edge.Extension
	configuration string
}

// contract is what Run checks. Each check returns all that it finds.
var contract = []struct {
	name  string
	check func(subject) error
}{
	{"live", subject.live},
	{"documented", subject.documented},
	{"closed", subject.closed},
	{"answers", subject.answers},
	{"bodies", subject.bodies},
	{"strangers", subject.strangers},
	{"settings", subject.settings},
	{"reloads", subject.reloads},
}

func (s subject) live() error {
	for end := time.Now().Add(observe); ; time.Sleep(100 * time.Millisecond) {
		for _, path := range []string{"/livez", "/readyz"} {
			response, _, err := s.do(http.MethodGet, path, "")
			if err != nil {
				return err
			}
			if response.StatusCode != http.StatusOK {
				_, status, _ := s.do(http.MethodGet, "/api/v1/system/status", "")
				return fmt.Errorf("%s answers %d; the status says %s", path, response.StatusCode, health(status))
			}
		}
		if time.Now().After(end) {
			return nil
		}
	}
}

// health is that part of a status.
func health(status []byte) string {
	var body struct{ Health json.RawMessage }
	if err := json.Unmarshal(status, &body); err != nil {
		return err.Error()
	}
	return string(body.Health)
}

func (s subject) documented() error {
	_, body, err := s.do(http.MethodGet, "/openapi.json", "")
	if err != nil {
		return err
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Summary string
			Role    string `json:"x-role"`
		}
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return err
	}
	var errs []error
	for _, r := range s.Routes {
		methods := []string{r.Method}
		if r.Method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		for _, method := range methods {
			op, ok := doc.Paths[braces(r.Path)][strings.ToLower(method)]
			if !ok || op.Summary == "" || op.Role != r.Role.String() {
				errs = append(errs, fmt.Errorf("%s %s is documented as %+v (there: %t)", method, r.Path, op, ok))
			}
		}
	}
	return errors.Join(errs...)
}

func braces(path string) string {
	return replaceParameters(path, func(name string) string { return "{" + name + "}" })
}

// example is the path with something in the place of each parameter.
func example(path string) string {
	return replaceParameters(path, func(string) string { return "example" })
}

func replaceParameters(path string, with func(string) string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			parts[i] = with(name)
		}
	}
	return strings.Join(parts, "/")
}

// each calls check for the routes that need a role, or for those that need none.
func (s subject) each(role bool, check func(r edge.Route, path string) error) error {
	var errs []error
	for _, r := range s.Routes {
		if (r.Role != edge.Anyone) != role {
			continue
		}
		if err := check(r, example(r.Path)); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", r.Method, r.Path, err))
		}
	}
	return errors.Join(errs...)
}

func (s subject) closed() error {
	return s.each(true, func(r edge.Route, path string) error {
		response, body, err := s.do(r.Method, path, "")
		if err != nil {
			return err
		}
		return isProblem(response, body, http.StatusForbidden)
	})
}

// isProblem wants problem details and one of the statuses.
func isProblem(response *http.Response, body []byte, statuses ...int) error {
	for _, status := range statuses {
		var details problem.Details
		if response.StatusCode != status {
			continue
		}
		if response.Header.Get("Content-Type") != problem.ContentType || json.Unmarshal(body, &details) != nil || details.Detail == "" {
			return fmt.Errorf("%d without problem details: use web.Problem; the body is %.200q", status, body)
		}
		return nil
	}
	return fmt.Errorf("it answers %d, want %v: %.200q", response.StatusCode, statuses, body)
}

func (s subject) answers() error {
	return s.each(false, func(r edge.Route, path string) error {
		if r.Method != http.MethodGet || r.Cost == edge.Endless {
			return nil
		}
		begin := time.Now()
		response, body, err := s.do(http.MethodGet, path, "")
		if err != nil {
			return err
		}
		if took := time.Since(begin); took > promptly {
			return fmt.Errorf("the answer took %v; %v is what a client should wait", took, promptly)
		}
		if response.StatusCode >= 500 {
			return fmt.Errorf("it answers %d: %.200q", response.StatusCode, body)
		}
		if response.StatusCode >= 400 {
			if err := isProblem(response, body, response.StatusCode); err != nil {
				return err
			}
		}
		head, _, err := s.do(http.MethodHead, path, "")
		if err != nil {
			return err
		}
		if head.StatusCode != response.StatusCode || head.Header.Get("Content-Type") != response.Header.Get("Content-Type") {
			return fmt.Errorf("HEAD answers %d (%s), GET %d (%s)", head.StatusCode, head.Header.Get("Content-Type"),
				response.StatusCode, response.Header.Get("Content-Type"))
		}
		response, body, err = s.do(http.MethodGet, path+"?edgetest-unknown=1", "")
		if err == nil {
			err = isProblem(response, body, http.StatusBadRequest)
		}
		if err != nil {
			return fmt.Errorf("with a query that is not described: %w", err)
		}
		return nil
	})
}

func (s subject) bodies() error {
	return s.each(false, func(r edge.Route, path string) error {
		if r.Body == 0 {
			return nil
		}
		for what, body := range map[string]string{
			"of garbage": "\x00{[", "that is empty": " ", "that is half of one": "{", "that is an unknown member": `{"edgetest-unknown":1}`,
		} {
			response, answer, err := s.do(r.Method, path, body, "Content-Type", "application/json")
			if err == nil {
				err = isProblem(response, answer, http.StatusBadRequest, http.StatusNotFound, http.StatusConflict,
					http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity)
			}
			if err != nil {
				return fmt.Errorf("a body %s: %w", what, err)
			}
		}
		response, answer, err := s.do(r.Method, path, strings.Repeat(" ", int(r.Body)+1), "Content-Type", "application/json", "Transfer-Encoding", "chunked")
		if err == nil {
			err = isProblem(response, answer, http.StatusRequestEntityTooLarge)
		}
		if err != nil {
			return fmt.Errorf("a body that is larger than %d: %w", r.Body, err)
		}
		return nil
	})
}

func (s subject) strangers() error {
	return s.each(false, func(r edge.Route, path string) error {
		if r.Cost == edge.Endless {
			return nil
		}
		response, body, err := s.do(r.Method, path, "", "Host", "stranger.example")
		if err == nil {
			err = isProblem(response, body, http.StatusMisdirectedRequest)
		}
		if err != nil {
			return fmt.Errorf("under another name: %w", err)
		}
		response, body, err = s.do(r.Method, path, "", "Origin", "http://stranger.example", "Sec-Fetch-Site", "cross-site")
		if err == nil {
			err = isProblem(response, body, http.StatusForbidden)
		}
		if err != nil {
			return fmt.Errorf("for a page of another site: %w", err)
		}
		return nil
	})
}

func (s subject) settings() error {
	if s.Settings == nil {
		return nil
	}
	table := config.Table{Name: "x." + s.Name, New: s.Settings}
	printed := config.Default([]config.Table{table})
	again := config.Default([]config.Table{table})
	if err := again.Merge("printed", []byte(printed.TOML())); err != nil {
		return fmt.Errorf("the defaults do not read back: %w", err)
	}
	if one, other := printed.TOML(), again.TOML(); withoutComments(one) != withoutComments(other) {
		return fmt.Errorf("the defaults read back to something else:\n%s\n%s", one, other)
	}
	var errs []error
	for _, k := range s.Settings().Keys() {
		// No key takes a number with a point.
		if err := k.Set(keys.OtherType("a floating point number")); err == nil {
			errs = append(errs, fmt.Errorf("key %s takes a value of any type", k.Name))
		}
	}
	if err := s.Reload(s.configuration + "\n[x." + s.Name + ".edgetest-unknown]\n"); err == nil {
		errs = append(errs, errors.New("a reload with an unknown key was not refused"))
	}
	return errors.Join(append(errs, s.Reload(s.configuration))...)
}

func withoutComments(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "  # ")
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// reloads has a client ask meanwhile, over a connection that it keeps.
func (s subject) reloads() error {
	stop, lost := make(chan struct{}), make(chan error, 1)
	asked := 0
	go func() {
		for {
			select {
			case <-stop:
				lost <- nil
				return
			default:
			}
			response, _, err := s.do(http.MethodGet, "/livez", "")
			if err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("/livez answers %d", response.StatusCode)
			}
			if err != nil {
				lost <- err
				return
			}
			asked++
		}
	}()
	var errs []error
	for range reloads {
		errs = append(errs, s.Reload(s.configuration))
	}
	close(stop)
	if err := <-lost; err != nil {
		errs = append(errs, fmt.Errorf("a request was lost through %d reloads, after %d that were not: %w", reloads, asked, err))
	}
	return errors.Join(errs...)
}
