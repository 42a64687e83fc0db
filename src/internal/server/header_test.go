package server

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

func TestHeaderScanner(t *testing.T) {
	for _, tc := range []struct {
		text       string
		end, lines int
	}{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\nmore", 27, 3},
		{"GET / HTTP/1.1\nHost: x\n\nmore", 24, 3},
		{"GET / HTTP/1.1\r\nHost: x\r\n", -1, 2},
		{"\r\nGET", 2, 1},
		{"\n", 1, 1},
		{"\r\r\n\r\n", 5, 2},
		{"a\r\n \r\n\r\n", 8, 3},
		{"", -1, 0},
		{"\r", -1, 0},
	} {
		for size := 1; size <= len(tc.text)+1; size++ {
			var h headerScanner
			end, at := -1, 0
			for at < len(tc.text) && end < 0 {
				n := min(size, len(tc.text)-at)
				if e := h.scan([]byte(tc.text[at : at+n])); e >= 0 {
					end = at + e
				}
				at += n
			}
			if end != tc.end || h.lines != tc.lines {
				t.Errorf("%q in pieces of %d: end %d after %d lines", tc.text, size, end, h.lines)
			}
			if end >= 0 && h.size != end {
				t.Errorf("%q in pieces of %d: size %d", tc.text, size, h.size)
			}
		}
	}
}

func TestPlausible(t *testing.T) {
	for line, want := range map[string]bool{
		"GET / HTTP/1.1\r\n": true, "GET / HTTP/1.0\n": true, "GET": true, "": true,
		"GET /\r\n": false, "PRI * HTTP/2.0\r\n": false, "\x16\x03\n": false, "\r\n": false,
	} {
		if got := plausible([]byte(line)); got != want {
			t.Errorf("%q: %t", line, got)
		}
	}
}

// Where net/http finds a header good, the scanner ends it where net/http does,
// in whatever pieces it comes.
func FuzzHeaderScanner(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n"), 7)
	f.Add([]byte("POST / HTTP/1.1\nHost: x\nA: b\n c\n\nbody"), 1)
	f.Add([]byte("GET / HTTP/1.1\r\nHost:x\r\nA:\r\n \t\r\nB:\r\n\r\n"), 3)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		var h headerScanner
		end := -1
		for at, n := 0, 0; at < len(data) && end < 0; at += n {
			n = min(max(1, size), len(data)-at)
			if e := h.scan(data[at : at+n]); e >= 0 {
				end = at + e
			}
		}
		if h.size > len(data) || h.lines > h.size || end >= 0 && h.size != end {
			t.Fatalf("%q: %+v, end %d", data, h, end)
		}
		source := bytes.NewReader(data)
		reader := bufio.NewReaderSize(source, 1<<16)
		if _, err := http.ReadRequest(reader); err != nil {
			return
		}
		if read := len(data) - source.Len() - reader.Buffered(); read != end {
			t.Fatalf("%q: the header ends at %d, net/http has read %d", data, end, read)
		}
	})
}

func FuzzParsePlain(f *testing.F) {
	f.Add([]byte("HTTP/1.1 400 Bad Request: x\r\nConnection: close\r\n\r\n400 Bad Request: x"))
	f.Add([]byte("HTTP/1.1 417 Expectation Failed\r\n\r\n"))
	f.Fuzz(func(t *testing.T, plain []byte) {
		status, detail := parsePlain(plain)
		if status < 400 || status > 599 || http.StatusText(status) != "" && strings.TrimSpace(detail) == "" && len(plain) == 0 {
			t.Fatalf("%q: %d %q", plain, status, detail)
		}
	})
}
