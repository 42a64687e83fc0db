package web

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

func TestReadJSON(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.PUT("/", func(c *gin.Context) {
		c.Header(RequestID, "abc")
		LimitBody(c.Request, 64)
		var body struct {
			Name  string
			Count int `json:"count"`
		}
		if ReadJSON(c, &body) {
			c.String(http.StatusOK, "%s %d", body.Name, body.Count)
		}
	})
	for _, tc := range []struct {
		body, kind string
		status     int
		want       string
	}{
		{`{"name":"a","count":2}`, "application/json; charset=utf-8", 200, "a 2"},
		{`{"name":"a"}`, "text/plain", 415, "the body has to be JSON, with Content-Type: application/json"},
		{`{"name":"a"}`, "", 415, "the body has to be JSON, with Content-Type: application/json"},
		{`{"nam":"a"}`, "application/json", 400, `the body: json: unknown field "nam"`},
		{`{"count":"a"}`, "application/json", 400, `the body: member "count": a string is not what it takes`},
		{`{"count":1,}`, "application/json", 400, "the body: byte 12: "},
		{`{"count":1`, "application/json", 400, "the body: the JSON ends too early"},
		{``, "application/json", 400, "the body: the JSON ends too early"},
		{`{} {}`, "application/json", 400, "the body: there is more than one value"},
		{strings.Repeat(" ", 65), "application/json", 413, "the body is larger than this resource takes"},
	} {
		r := httptest.NewRequest("PUT", "/", io.NopCloser(strings.NewReader(tc.body)))
		r.Header.Set("Content-Type", tc.kind)
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, r)
		text := w.Body.String()
		if tc.status != 200 {
			var details struct {
				Detail, Instance string
				RequestID        string `json:"request_id"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &details); err != nil || details.RequestID != "abc" || details.Instance != "/" {
				t.Errorf("%q: %s, %v", tc.body, text, err)
			}
			text = details.Detail
		}
		if w.Code != tc.status || !strings.HasPrefix(text, tc.want) {
			t.Errorf("%q: %d %q, want %d %q", tc.body, w.Code, text, tc.status, tc.want)
		}
	}
}

// FuzzDecode: whatever a body says, the error is one clean line.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"name":"a"}`, `{"x":1}`, `[`, "\x00", `{"count":1e999}`, `{} {}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var body struct {
			Name  string
			Count int `json:"count"`
		}
		if err := decode(data, &body); err != nil && strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Errorf("%q", err)
		}
	})
}
