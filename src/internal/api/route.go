package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
)

// CheckRoutes finds rows that must not be served: what they leave out would be
// an open door. The error names the row.
func CheckRoutes(rows []edge.Route) error {
	seen := map[string]bool{}
	for _, row := range rows {
		operation := row.Method + " " + row.Path
		var err error
		switch {
		case row.Method == "" || strings.ToUpper(row.Method) != row.Method:
			err = errors.New("the method is missing or not in capitals")
		case row.Method == http.MethodHead:
			err = errors.New("HEAD comes with GET")
		case !strings.HasPrefix(row.Path, "/"):
			err = errors.New("the path does not begin with /")
		case row.Role == 0:
			err = errors.New("it does not say who may call it: set Role")
		case row.Role != edge.Anyone:
			// Nothing can tell roles apart yet. Open would be wrong, closed useless.
			err = fmt.Errorf("role %v: the service does not know users yet", row.Role)
		case row.Body < 0:
			err = errors.New("the body limit is negative")
		case row.Cost < edge.Small || row.Cost > edge.Endless:
			err = errors.New("the cost is unknown")
		case row.Handle == nil:
			err = errors.New("it has no handler")
		case seen[operation]:
			err = errors.New("it is there twice")
		}
		if err != nil {
			return fmt.Errorf("route %s: %w", operation, err)
		}
		seen[operation] = true
	}
	return nil
}

// serve registers the rows.
func (a *api) serve(engine *gin.Engine, rows []edge.Route) error {
	if err := CheckRoutes(rows); err != nil {
		return err
	}
	for _, row := range rows {
		chain := []gin.HandlerFunc{a.body(row), row.Handle}
		if row.Cost == edge.Large {
			chain[1] = a.answers.limit(row.Handle)
		}
		engine.Handle(row.Method, row.Path, chain...)
		if row.Method == http.MethodGet {
			engine.Handle(http.MethodHead, row.Path, chain...)
		}
	}
	return nil
}
