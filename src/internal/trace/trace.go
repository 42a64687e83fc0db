// Package trace takes over the identity of a request: its X-Request-Id and its
// W3C trace context (https://www.w3.org/TR/trace-context/).
package trace

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
)

// MaxRequestID is the longest X-Request-Id that is taken over, in bytes. It
// keeps what a client can put into log records short.
const MaxRequestID = 128

// Parent is the content of a traceparent header. TraceID and SpanID are lower
// case hex, 32 and 16 digits, and never all zero.
type Parent struct {
	TraceID string
	SpanID  string
	Sampled bool
}

var errTraceparent = errors.New("invalid traceparent")

// ParseTraceparent reads a traceparent header by the rules of W3C Trace
// Context, section 3.2: version 00 has exactly four fields; a higher version
// may have more, and its first four are read as those of version 00; version
// ff, upper case digits and all-zero ids are invalid.
func ParseTraceparent(s string) (Parent, error) {
	const length = len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return Parent{}, errTraceparent
	}
	version, traceID, spanID, flags := s[:2], s[3:35], s[36:52], s[53:55]
	if !isHex(version) || !isHex(traceID) || !isHex(spanID) || !isHex(flags) {
		return Parent{}, errTraceparent
	}
	switch {
	case version == "ff", isZero(traceID), isZero(spanID):
		return Parent{}, errTraceparent
	case version == "00" && len(s) != length:
		return Parent{}, errTraceparent
	case len(s) > length && s[length] != '-':
		return Parent{}, errTraceparent
	}
	return Parent{TraceID: traceID, SpanID: spanID, Sampled: hexDigit(flags[1])&1 == 1}, nil
}

// New starts a trace. It is not sampled: whether to record is the caller's
// decision, and no caller has asked.
func New() Parent {
	return Parent{TraceID: nonZeroHex(16), SpanID: nonZeroHex(8)}
}

// Child returns the context of the next hop: the same trace, a new span.
func (p Parent) Child() Parent {
	p.SpanID = nonZeroHex(8)
	return p
}

// String returns the header value, version 00. Flags other than "sampled" are
// not forwarded (section 3.2.2.5: they must be zero when not understood).
func (p Parent) String() string {
	flags := "-00"
	if p.Sampled {
		flags = "-01"
	}
	return "00-" + p.TraceID + "-" + p.SpanID + flags
}

// ValidRequestID says whether a client's X-Request-Id may be taken over:
// 1 to MaxRequestID bytes out of A-Z a-z 0-9 . _ -
func ValidRequestID(s string) bool {
	if len(s) == 0 || len(s) > MaxRequestID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// NewRequestID returns 32 random hex digits.
func NewRequestID() string { return nonZeroHex(16) }

func nonZeroHex(bytes int) string {
	var buf [16]byte
	for {
		// crypto/rand.Read never returns an error since Go 1.24.
		_, _ = rand.Read(buf[:bytes])
		if s := hex.EncodeToString(buf[:bytes]); !isZero(s) {
			return s
		}
	}
}

func isZero(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return false
		}
	}
	return true
}

func isHex(s string) bool {
	for i := range len(s) {
		if hexDigit(s[i]) > 15 {
			return false
		}
	}
	return true
}

// hexDigit returns the value of a lower case hex digit, or 255.
func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
