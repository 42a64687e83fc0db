package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"
)

// Check holds the rows of a product to the rules, beside the API's own.
func Check(rows []edge.Route) error {
	all := slices.Concat(routes(&Process{}, Settings{}), rows)
	if err := checkRows(all); err != nil {
		return err
	}
	engine := gin.New()
	for _, row := range all {
		if err := try(engine, row); err != nil {
			return err
		}
	}
	return nil
}

// try registers a row where nobody asks. Gin panics when two paths cannot be told
// apart.
func try(engine *gin.Engine, row edge.Route) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("route %s %s: %v", row.Method, row.Path, cause)
		}
	}()
	engine.Handle(row.Method, row.Path, row.Handle)
	return nil
}

// checkRows finds rows that must not be served: what they leave out would be
// an open door. The error names the row.
func checkRows(rows []edge.Route) error {
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
		case row.Role < edge.Anyone || row.Role > edge.Metrics:
			err = errors.New("the role is unknown")
		case row.Body < 0:
			err = errors.New("the body limit is negative")
		case row.Cost < edge.Small || row.Cost > edge.Endless:
			err = errors.New("the cost is unknown")
		case row.Handle == nil:
			err = errors.New("it has no handler")
		case seen[operation]:
			err = errors.New("it is there twice: the service has it, or two of its extensions")
		}
		if err != nil {
			return fmt.Errorf("route %s: %w", operation, err)
		}
		seen[operation] = true
	}
	return nil
}

// closed answers in the place of a row that asks for a role. Nothing can tell
// roles apart yet, and open would be wrong.
func closed(role edge.Role) gin.HandlerFunc {
	return func(c *gin.Context) {
		web.Problem(c, http.StatusForbidden, fmt.Sprintf("this is for the role %v, and the service does not know users yet: nobody has it", role))
	}
}

// onlyQuery lets a request pass whose query has what the document describes, once
// each. Our own handlers read theirs more strictly.
func onlyQuery(known readers) gin.HandlerFunc {
	return func(c *gin.Context) {
		if c.Request.URL.RawQuery == "" {
			return
		}
		if err := readQuery(c.Request.URL.RawQuery, known); err != nil {
			noBody(c)
			web.Problem(c, http.StatusBadRequest, err.Error())
		}
	}
}

// serve registers the rows.
func (a *api) serve(engine *gin.Engine, rows []edge.Route) error {
	if err := checkRows(rows); err != nil {
		return err
	}
	for _, row := range rows {
		chain := []gin.HandlerFunc{a.body(row), row.Handle}
		if row.Role != edge.Anyone {
			chain = []gin.HandlerFunc{noBody, closed(row.Role)}
		} else if row.Cost == edge.Large {
			chain[1] = a.answers.limit(row.Handle)
		}
		if row.Summary != "" {
			chain = append([]gin.HandlerFunc{onlyQuery(queryOf(row))}, chain...)
		}
		engine.Handle(row.Method, row.Path, chain...)
		if row.Method == http.MethodGet {
			engine.Handle(http.MethodHead, row.Path, chain...)
		}
	}
	return nil
}
