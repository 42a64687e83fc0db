package edgetest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"
)

type settings struct{ Greeting string }

func (s *settings) Keys() []edge.Key {
	return []edge.Key{keys.Choice("greeting", &s.Greeting, "hello", "hi")}
}
func (s *settings) Check() error { return nil }

func good() edge.Extension {
	return edge.Extension{
		Name:     "good",
		Settings: func() edge.Settings { return &settings{Greeting: "hello"} },
		Routes: []edge.Route{
			{Method: "GET", Path: "/api/v1/x/good/items/:id", Role: edge.Anyone, Summary: "An item", Handle: func(c *gin.Context) {
				c.JSON(http.StatusOK, gin.H{"id": c.Param("id")})
			}},
			{Method: "PUT", Path: "/api/v1/x/good/items/:id", Role: edge.Anyone, Summary: "Set an item", Body: 100, Handle: func(c *gin.Context) {
				var item struct{ Name string }
				if web.ReadJSON(c, &item) {
					c.Status(http.StatusNoContent)
				}
			}},
			{Method: "DELETE", Path: "/api/v1/x/good/items/:id", Role: edge.Owner, Summary: "Delete an item", Handle: func(c *gin.Context) {
				c.Status(http.StatusNoContent)
			}},
		},
		Loops: []edge.Loop{{Name: "tick", Limit: time.Second, Run: func(ctx context.Context, beat func()) error {
			ticker := time.NewTicker(100 * time.Millisecond)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-ticker.C:
					beat()
				}
			}
		}}},
		Ready: []edge.Check{{Name: "sensor", Run: func(context.Context) error { return edge.Degraded(errors.New("none")) }}},
	}
}

func TestContract(t *testing.T) { Run(t, good, "[x.good]\ngreeting = \"hi\"") }

// The contract finds what it is for.
func TestBrokenContracts(t *testing.T) {
	handle := func(e *edge.Extension, row int, f gin.HandlerFunc) { e.Routes[row].Handle = f }
	for _, tc := range []struct {
		check, want string
		breach      func(*edge.Extension)
	}{
		{"live", "/livez answers 503", func(e *edge.Extension) {
			e.Loops[0].Run = func(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }
		}},
		{"live", "/readyz answers 503", func(e *edge.Extension) {
			e.Ready[0].Run = func(context.Context) error { return errors.New("broken") }
		}},
		{"answers", "it answers 500", func(e *edge.Extension) { handle(e, 0, func(*gin.Context) { panic("x") }) }},
		{"answers", "the answer took", func(e *edge.Extension) { handle(e, 0, func(*gin.Context) { time.Sleep(promptly + time.Second/2) }) }},
		{"answers", "404 without problem details", func(e *edge.Extension) { handle(e, 0, func(c *gin.Context) { c.String(404, "no") }) }},
		{"answers", "HEAD answers 204", func(e *edge.Extension) {
			handle(e, 0, func(c *gin.Context) {
				if c.Request.Method == http.MethodHead {
					c.Status(http.StatusNoContent)
				}
			})
		}},
		{"bodies", "it answers 204", func(e *edge.Extension) { handle(e, 1, func(c *gin.Context) { c.Status(http.StatusNoContent) }) }},
		{"bodies", "a body that is larger than 100: it answers 400", func(e *edge.Extension) {
			handle(e, 1, func(c *gin.Context) { web.Problem(c, http.StatusBadRequest, "whatever it is") })
		}},
		{"settings", "key greeting takes a value of any type", func(e *edge.Extension) {
			e.Settings = func() edge.Settings { return &lax{} }
		}},
		{"settings", "read back to something else", func(e *edge.Extension) { e.Settings = func() edge.Settings { return &forgetful{} } }},
	} {
		t.Run(tc.check+" "+tc.want, func(t *testing.T) {
			e := good()
			tc.breach(&e)
			s, err := start(t, "", e)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Stop() })
			for _, c := range contract {
				if c.name != tc.check {
					continue
				}
				if err := c.check(subject{s, e, ""}); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v, want %q", err, tc.want)
				}
			}
		})
	}
}

type lax struct{ value any }

func (s *lax) Keys() []edge.Key {
	return []edge.Key{{Name: "greeting", Set: func(v any) error { s.value = v; return nil }, Format: func() string { return `"x"` }}}
}
func (s *lax) Check() error { return nil }

type forgetful struct{ n int }

func (s *forgetful) Keys() []edge.Key {
	return []edge.Key{{Name: "greeting", Set: func(v any) error {
		if _, ok := v.(int64); !ok {
			return errors.New("no")
		}
		s.n = 7
		return nil
	}, Format: func() string { return map[bool]string{true: "7", false: "1"}[s.n == 7] }}}
}
func (s *forgetful) Check() error { return nil }

func TestReloadIsRefused(t *testing.T) {
	s := Start(t, "", good())
	err := s.Reload("[x.good]\ngreeting = \"hey\"\n")
	if err == nil || !strings.Contains(err.Error(), `key x.good.greeting: "hey" is not one of hello, hi`) {
		t.Error(err)
	}
	if err := s.Reload(""); err != nil {
		t.Error(err)
	}
}
