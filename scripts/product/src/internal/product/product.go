// Package product is what @NAME@ adds to the service.
package product

import (
	"net/http"
	"sync/atomic"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
)

// settings are the table [x.@NAME@] of the configuration.
type settings struct{ Greeting string }

// Keys are the names of the table, each with what it may be.
func (s *settings) Keys() []edge.Key {
	return []edge.Key{keys.Choice("greeting", &s.Greeting, "hello", "good day")}
}

// Check says whether the values fit together.
func (s *settings) Check() error { return nil }

// hello is what /openapi.json says about the answer; tests hold it to that.
const hello = `{"responses": {"200": {"description": "A greeting.", "content": {"application/json": {"schema":
	{"type": "object", "required": ["greeting"], "properties": {"greeting": {"type": "string"}}}}}}}}`

// Extension is a new one for each service; package edge says what else it may have.
func Extension() edge.Extension {
	var current atomic.Pointer[settings]
	return edge.Extension{
		Name:     "@NAME@",
		Settings: func() edge.Settings { return &settings{Greeting: "hello"} },
		// Called at the start, and for each reload of the configuration.
		Change: func(next edge.Settings) (commit func(), err error) {
			return func() { current.Store(next.(*settings)) }, nil
		},
		Routes: []edge.Route{{
			Method: http.MethodGet, Path: "/api/v1/x/@NAME@/hello", Role: edge.Anyone,
			Summary: "A greeting", Operation: hello,
			Handle: func(c *gin.Context) {
				c.JSON(http.StatusOK, gin.H{"greeting": current.Load().Greeting})
			},
		}},
	}
}
