package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
)

func hostProcess(t *testing.T, hostname string) *Process {
	p := newProcess(t)
	p.Device, _ = device.NewReader(fstest.MapFS{"proc/sys/kernel/hostname": {Data: []byte(hostname + "\n")}})
	return p
}

func from(h http.Handler, method, path, host string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHosts(t *testing.T) {
	h := New(hostProcess(t, "Box-7.example.org"), Settings{Hosts: []string{"device.example.com"}})
	for _, host := range []string{
		"192.0.2.1", "192.0.2.1:8080", "[2001:db8::1]", "[2001:db8::1]:80", "::1", "localhost", "LOCALHOST:8080", "localhost.",
		"box-7", "BOX-7:80", "box-7.local", "box-7.example.org", "box-7.example.org.", "device.example.com", "Device.Example.com:443",
	} {
		if w := from(h, "GET", "/api/v1/device", host); w.Code != http.StatusOK {
			t.Errorf("%q: %d %s", host, w.Code, w.Body)
		}
	}
	for _, host := range []string{
		"", "evil.example", "evil.example:80", "192.0.2.1.evil.example", "localhost.evil.example", "box-7.evil.example", "evil.box-7.local",
		"box-7.local.evil", "example.org", "[evil]", "[::1", "localhost:80:80", "localhost:http", "device.example.com@evil", ".", "..", "%31", "0x7f.1",
	} {
		for _, path := range []string{"/api/v1/device", "/api/v1/logs", "/openapi.json", "/no/such/path"} {
			p := wantProblem(t, from(h, "GET", path, host), http.StatusMisdirectedRequest, path)
			if !strings.Contains(p.Detail, "is not a name of this device; add it to access.hosts") {
				t.Errorf("%q: %s", host, p.Detail)
			}
		}
		// Health tells nothing, and a load balancer has names of its own.
		if w := from(h, "GET", "/livez", host); w.Code != http.StatusOK || w.Body.String() != `{"status":"ok"}` {
			t.Errorf("%q: /livez %d %s", host, w.Code, w.Body)
		}
		if w := from(h, "GET", "/readyz", host); w.Code != http.StatusOK {
			t.Errorf("%q: /readyz %d %s", host, w.Code, w.Body)
		}
	}
	if p := wantProblem(t, from(h, "GET", "/api/v1/device", strings.Repeat("x", 5000)), http.StatusMisdirectedRequest, "/api/v1/device"); len(p.Detail) > 300 {
		t.Errorf("the answer repeats %d bytes", len(p.Detail))
	}
	// A device whose name is not known, and the names of no one.
	h = New(hostProcess(t, ""), Settings{})
	for _, host := range []string{".local", "", "device.example.com"} {
		wantProblem(t, from(h, "GET", "/api/v1/device", host), http.StatusMisdirectedRequest, "/api/v1/device")
	}
}

func TestPagesOfOthers(t *testing.T) {
	h := New(hostProcess(t, "box"), Settings{Routes: []edge.Route{{Method: http.MethodPost, Path: "/act", Role: edge.Anyone, Handle: func(c *gin.Context) { c.Status(204) }}}})
	for _, tc := range []struct {
		method, path string
		want         int
		header       []string
	}{
		{"GET", "/api/v1/device", 200, nil},
		{"GET", "/api/v1/device", 200, []string{"Origin", "http://box"}},
		{"GET", "/api/v1/device", 200, []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://front.example"}},
		{"GET", "/api/v1/device", 200, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}}, // a link
		{"GET", "/api/v1/device", 403, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}},
		{"GET", "/api/v1/logs/stream", 403, []string{"Origin", "http://evil.example"}},
		{"GET", "/api/v1/device", 403, []string{"Origin", "null"}},
		{"GET", "/api/v1/device", 403, []string{"Origin", "http://box:81"}},
		{"POST", "/act", 204, nil},
		{"POST", "/act", 204, []string{"Sec-Fetch-Site", "same-origin"}},
		{"POST", "/act", 204, []string{"Origin", "http://box"}},
		{"POST", "/act", 403, []string{"Origin", "http://evil.example"}},
		{"POST", "/act", 403, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}},
		{"POST", "/act", 403, []string{"Sec-Fetch-Site", "same-site"}},
	} {
		w := from(h, tc.method, tc.path, "box", tc.header...)
		if w.Code != tc.want {
			t.Errorf("%s %s %q: %d %s", tc.method, tc.path, tc.header, w.Code, w.Body)
		}
		if tc.want == 403 {
			if p := wantProblem(t, w, 403, tc.path); !strings.HasPrefix(p.Detail, "a page of another site asks: ") {
				t.Errorf("%q: %s", tc.header, p.Detail)
			}
		}
	}
}
