// Package web is what a handler of the device API needs beside Gin: errors as
// every resource answers them, and bodies that are read strictly.
package web

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/problem"
)

// RequestID is the header that ties a request to its answer and its log records.
const RequestID = "X-Request-Id"

// lingerTimeout is how long the rest of a refused body is read.
const lingerTimeout = time.Second

// Problem ends the request with problem details (RFC 9457). detail says what is
// wrong and what would be right.
func Problem(c *gin.Context, status int, detail string) {
	body := problem.New(status, detail, c.Request.URL.EscapedPath(), c.Writer.Header().Get(RequestID)).JSON()
	c.Abort()
	// Known before the end of the handler, so that a flushed answer is whole.
	c.Header("Content-Length", strconv.Itoa(len(body)))
	c.Data(status, problem.ContentType, body)
}

// ReadJSON reads the body into v, which is a pointer: one value of JSON, without
// members that v does not have. Else it answers, 400, 413 or 415, and returns
// false: the handler has nothing left to do.
func ReadJSON(c *gin.Context, v any) bool {
	if kind, _, err := mime.ParseMediaType(c.Request.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		Problem(c, http.StatusUnsupportedMediaType, "the body has to be JSON, with Content-Type: application/json")
		return false
	}
	body, err := io.ReadAll(c.Request.Body)
	if err != nil {
		BadBody(c, err)
		return false
	}
	if err := decode(body, v); err != nil {
		Problem(c, http.StatusBadRequest, "the body: "+err.Error())
		return false
	}
	return true
}

// BadBody answers for a body that could not be read to its end.
func BadBody(c *gin.Context, err error) {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		TooLarge(c)
		return
	}
	// The rest of the body cannot be told from the next request.
	c.Header("Connection", "close")
	Problem(c, http.StatusBadRequest, "the body could not be read: it is malformed, or did not arrive within server.read_timeout")
}

// TooLarge answers first and then reads what the client still sends, for a
// bounded time: closing with unread data resets the connection, and the client
// would see the reset instead of the answer (RFC 9112, section 9.6).
func TooLarge(c *gin.Context) {
	c.Header("Connection", "close")
	Problem(c, http.StatusRequestEntityTooLarge, "the body is larger than this resource takes, or than server.max_body_bytes")
	c.Writer.Flush()
	if http.NewResponseController(c.Writer).SetReadDeadline(time.Now().Add(lingerTimeout)) == nil {
		var rest io.Reader = c.Request.Body
		if limited, ok := rest.(*limitedBody); ok {
			rest = limited.whole
		}
		_, _ = io.Copy(io.Discard, rest)
	}
}

// limitedBody reads up to a limit.
type limitedBody struct {
	io.ReadCloser
	whole io.Reader
}

// LimitBody has reads of the body fail beyond the limit, in bytes. The service
// does it for each route.
func LimitBody(r *http.Request, limit int64) {
	r.Body = &limitedBody{ReadCloser: http.MaxBytesReader(nil, r.Body, limit), whole: r.Body}
}
