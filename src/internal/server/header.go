package server

import "bytes"

// headerScanner finds the end of a request's header and counts its lines. It
// reads no more out of it than that: net/http does.
//
// net/http makes of each line, however short, an entry of a map: a header of
// 20 KB cost 400 KB when it was made of lines of four bytes. So a header is
// gathered and counted before net/http sees any of it.
type headerScanner struct {
	lines int // that have ended
	size  int // bytes seen
	line  int // bytes of the line that has not ended, without its first CR
	cr    bool
	start [5]byte // of the request
}

// scan takes the next bytes. It returns how many of them belong to the header
// when its end is among them, else -1. As in net/http (net/textproto), a line
// ends with LF or CRLF, and the header with an empty line.
func (h *headerScanner) scan(data []byte) (end int) {
	if h.size < len(h.start) {
		copy(h.start[h.size:], data)
	}
	for at := 0; at < len(data); {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			h.rest(data[at:])
			h.size += len(data)
			return -1
		}
		h.rest(data[at : at+i])
		at += i + 1
		empty := h.line == 0
		h.line, h.cr = 0, false
		h.lines++
		if empty {
			h.size += at
			return at
		}
	}
	h.size += len(data)
	return -1
}

// rest takes a piece of a line, without its LF. A CR at its beginning counts
// only when more follows: "\r\n" is an empty line.
func (h *headerScanner) rest(piece []byte) {
	for h.line == 0 && len(piece) > 0 && piece[0] == '\r' && !h.cr {
		h.cr = true
		piece = piece[1:]
	}
	if len(piece) > 0 {
		h.line += len(piece)
	}
}

// head says whether the request is one whose answer has no body.
func (h *headerScanner) head() bool { return h.size >= len(h.start) && string(h.start[:]) == "HEAD " }

// plausible says whether the first line can be that of HTTP/1. Of others nothing
// good follows: net/http answers them at once.
func plausible(header []byte) bool {
	line, _, found := bytes.Cut(header, []byte("\n"))
	if !found {
		return true // not known yet
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	return bytes.HasSuffix(line, []byte(" HTTP/1.1")) || bytes.HasSuffix(line, []byte(" HTTP/1.0"))
}
