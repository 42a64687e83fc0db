// Package problem holds the error body of the HTTP interface: RFC 9457
// problem details, written as application/problem+json.
package problem

import (
	"encoding/json"
	"net/http"
)

// ContentType is the media type of a problem body (RFC 9457, section 3).
const ContentType = "application/problem+json"

// Details is one error as a client sees it. Type is always "about:blank":
// the HTTP status says what kind of error it is (RFC 9457, section 4.2.1).
type Details struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Instance  string `json:"instance,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// New returns the problem for an HTTP status. instance is the path of the
// request, requestID the value of its X-Request-Id.
func New(status int, detail, instance, requestID string) Details {
	return Details{
		Type:      "about:blank",
		Title:     http.StatusText(status),
		Status:    status,
		Detail:    detail,
		Instance:  instance,
		RequestID: requestID,
	}
}

// JSON returns the body. It cannot fail: every field is a string or a number.
func (d Details) JSON() []byte {
	body, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	return body
}
