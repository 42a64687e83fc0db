package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"
)

// readers read the value of a parameter each; a parameter without one is unknown.
type readers map[string]func(value string) error

// readQuery hands each parameter of a query to its reader. An unknown one, or
// one that is there more than once, is an error: what a client misspelt must not
// be passed over in silence. Errors name the parameter.
func readQuery(raw string, read readers) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return fmt.Errorf("the query is malformed: %w", err)
	}
	for name, list := range values {
		switch {
		case len(read) == 0:
			return fmt.Errorf("unknown parameter %s; this resource takes none", short(name))
		case read[name] == nil:
			return fmt.Errorf("unknown parameter %s; known are %s", short(name), strings.Join(slices.Sorted(maps.Keys(read)), ", "))
		case len(list) > 1:
			return fmt.Errorf("parameter %s is there %d times; once is allowed", name, len(list))
		}
		if err := read[name](list[0]); err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return nil
}

// short is a text of the client in an answer.
func short(s string) string {
	const most = 64
	if len(s) <= most {
		return strconv.Quote(s)
	}
	return strconv.Quote(strings.ToValidUTF8(s[:most], "")) + "…"
}

// noQuery is for resources without parameters. It answers when there is one, and
// says whether there was none.
func noQuery(c *gin.Context) bool {
	err := readQuery(c.Request.URL.RawQuery, nil)
	if err != nil {
		web.Problem(c, http.StatusBadRequest, err.Error())
	}
	return err == nil
}

// readLimit reads a number of records from 1 to most.
func readLimit(limit *int, most int) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || n < 1 || n > uint64(most) {
			return fmt.Errorf("%s is not a number from 1 to %d", short(value), most)
		}
		*limit = int(n)
		return nil
	}
}
