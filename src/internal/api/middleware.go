package api

import (
	"cmp"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/sirupsen/logrus"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/trace"
)

const (
	headerTraceparent = "Traceparent"

	identityKey = "gin-edge/identity"

	bodyRetry = time.Second

	fieldStack = "stack" // of a log record; not shown by the API
)

// identity ties a request to its answer and its log records.
type identity struct {
	RequestID string
	Trace     trace.Parent
}

func identityOf(c *gin.Context) *identity {
	if v, ok := c.Get(identityKey); ok {
		return v.(*identity)
	}
	return &identity{}
}

// identify is the outermost middleware: it takes over or makes the identity of
// the request, counts the request, and logs it when it has ended.
func (a *api) identify(c *gin.Context) {
	begin := time.Now()
	id := &identity{RequestID: single(c.Request.Header, web.RequestID)}
	if !trace.ValidRequestID(id.RequestID) {
		id.RequestID = trace.NewRequestID()
	}
	parent, err := trace.ParseTraceparent(single(c.Request.Header, headerTraceparent))
	if err != nil {
		id.Trace = trace.New()
	} else {
		id.Trace = parent.Child()
	}
	c.Set(identityKey, id)
	header := c.Writer.Header()
	header.Set(web.RequestID, id.RequestID)
	header.Set(headerTraceparent, id.Trace.String())
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if a.draining() {
		// Keep-alive clients have to find another connection before the
		// sockets close.
		header.Set("Connection", "close")
	}
	self := server.IsSelf(c.Request.Context())
	if !self {
		a.requests.Add(1)
	}

	c.Next()

	// A failed health check is an answer, not an error of the service; the
	// watchdog and the state changes have records of their own.
	level := logrus.DebugLevel
	if status := c.Writer.Status(); status >= 500 && status != http.StatusServiceUnavailable {
		level = logrus.ErrorLevel
	}
	if a.log.IsLevelEnabled(level) {
		entry(a.log, c).WithFields(logrus.Fields{
			"status":      c.Writer.Status(),
			"bytes":       max(c.Writer.Size(), 0),
			"duration_us": time.Since(begin).Microseconds(),
			"client":      c.Request.RemoteAddr,
		}).Log(level, "request answered")
	}
}

// single returns the header's value, or "" unless there is exactly one.
func single(h http.Header, name string) string {
	if values := h[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// entry is a log record with what identifies the request.
func entry(logs *log.Log, c *gin.Context) *logrus.Entry {
	id := identityOf(c)
	return logs.WithFields(logrus.Fields{
		"request_id": id.RequestID,
		"trace_id":   id.Trace.TraceID,
		"route":      c.FullPath(),
		"method":     c.Request.Method,
	})
}

// recover turns a panic into a 500 and a record with the stack. The process
// lives on: other requests are not to blame.
func (a *api) recover(c *gin.Context) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		if cause == http.ErrAbortHandler {
			panic(cause) // a handler's way to drop the connection
		}
		entry(a.log, c).WithField(fieldStack, string(debug.Stack())).Errorf("panic: %v", cause)
		if c.Writer.Written() {
			// Part of a good answer is out. Only a broken connection says that
			// the rest is missing.
			panic(http.ErrAbortHandler)
		}
		web.Problem(c, http.StatusInternalServerError, "the request failed by an error of the service; its log has the request_id")
	}()
	c.Next()
}

// hasBody says whether a body follows the header. net/http leaves NoBody where
// none does.
func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

// noBody is for requests whose body nobody reads: it would have to be waited
// for. The connection ends with the answer, so that the body is not taken for
// the next request.
func noBody(c *gin.Context) {
	if hasBody(c.Request) {
		c.Header("Connection", "close")
	}
}

// body holds a request to what its route takes. A body is the handler's to
// read; an error of reading it goes to badBody.
func (a *api) body(row edge.Route) gin.HandlerFunc {
	limit := min(row.Body, a.maxBodyBytes)
	return func(c *gin.Context) {
		r := c.Request
		if !hasBody(r) {
			return
		}
		if row.Body == 0 {
			noBody(c)
			if r.ContentLength > a.maxBodyBytes {
				web.TooLarge(c)
			}
			return
		}
		if r.ContentLength > limit {
			web.TooLarge(c)
			return
		}
		// All that it may become: whoever has sent the header may send the rest.
		if n := r.ContentLength; !server.Charge(r.Context(), cmp.Or(max(n, 0), limit)) {
			c.Header("Connection", "close")
			c.Header("Retry-After", strconv.Itoa(int(bodyRetry.Seconds())))
			web.Problem(c, http.StatusServiceUnavailable, "there is no memory for this body now; come again")
			return
		}
		web.LimitBody(r, limit)
	}
}
