package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"
	"github.com/meta-gin-edge/meta-gin-edge/src/openapi"
)

// withBody is the API with one more route, which reads a body.
func withBody(process *Process, settings Settings, limit int64) *gin.Engine {
	settings.Routes = []edge.Route{{
		Method: http.MethodGet, Path: "/body", Role: edge.Anyone, Body: limit,
		Handle: func(c *gin.Context) {
			n, err := io.Copy(io.Discard, c.Request.Body)
			if err != nil {
				web.BadBody(c, err)
				return
			}
			c.String(http.StatusOK, "%d", n)
		},
	}}
	return New(process, settings)
}

func TestRowsThatDoNotStart(t *testing.T) {
	good := edge.Route{Method: "GET", Path: "/x", Role: edge.Anyone, Handle: func(*gin.Context) {}}
	if err := checkRows([]edge.Route{good}); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*edge.Route){
		"does not say who may call it": func(r *edge.Route) { r.Role = 0 },
		"the role is unknown":          func(r *edge.Route) { r.Role = edge.Metrics + 1 },
		"no handler":                   func(r *edge.Route) { r.Handle = nil },
		"HEAD comes with GET":          func(r *edge.Route) { r.Method = "HEAD" },
		"not in capitals":              func(r *edge.Route) { r.Method = "get" },
		"does not begin with /":        func(r *edge.Route) { r.Path = "x" },
		"body limit is negative":       func(r *edge.Route) { r.Body = -1 },
		"cost is unknown":              func(r *edge.Route) { r.Cost = 9 },
	} {
		bad := good
		change(&bad)
		if err := checkRows([]edge.Route{bad}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if err := checkRows([]edge.Route{good, good}); err == nil || !strings.Contains(err.Error(), "route GET /x: it is there twice") {
		t.Errorf("error %v", err)
	}
}

// The rows and the document name the same operations, with the same roles, and a
// row takes a body exactly where the document has one.
func TestRowsAreTheDocument(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			RequestBody json.RawMessage
			Role        string `json:"x-role"`
		}
	}
	if err := json.Unmarshal(openapi.Base, &doc); err != nil {
		t.Fatal(err)
	}
	type row struct {
		body bool
		role string
	}
	documented, rows := map[string]row{}, map[string]row{}
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			if method == "head" {
				t.Errorf("the document has HEAD %s, which is derived from GET", path)
			}
			documented[strings.ToUpper(method)+" "+path] = row{operation.RequestBody != nil, operation.Role}
		}
	}
	for _, r := range routes(newProcess(t), Settings{}) {
		rows[r.Method+" "+r.Path] = row{r.Body > 0, r.Role.String()}
	}
	for operation, want := range documented {
		if has, ok := rows[operation]; !ok || has != want {
			t.Errorf("%s: documented as %+v, no row like that", operation, want)
		}
	}
	for operation := range rows {
		if _, ok := documented[operation]; !ok {
			t.Errorf("%s: a row that is not documented", operation)
		}
	}
}

// Whoever has a body for a resource that takes none is answered at once: before
// the body has come, and without "100 Continue", which would ask for it.
func TestNoBodyIsWaitedFor(t *testing.T) {
	srv := httptest.NewServer(New(newProcess(t), Settings{MaxBodyBytes: 1 << 20}))
	defer srv.Close()
	for _, tc := range []struct {
		line string
		want int
	}{
		{"GET /livez", 200}, {"POST /livez", 405}, {"GET /nope", 404}, {"POST /nope", 404}, {"DELETE /api/v1/events", 405},
		{"GET http://evil.example/api/v1/device", 421},
	} {
		for _, header := range []string{
			"Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n",
			"Content-Length: 10\r\nExpect: 100-continue\r\n", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
		} {
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", tc.line, header); err != nil {
				t.Fatal(err)
			}
			r, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Errorf("%s, %q: %v", tc.line, header, err)
			} else if r.StatusCode != tc.want || !r.Close {
				t.Errorf("%s, %q: %d, close: %t", tc.line, header, r.StatusCode, r.Close)
			}
			conn.Close()
		}
	}
}

func TestPathsAreRaw(t *testing.T) {
	h := New(newProcess(t), Settings{})
	for _, path := range []string{"/api%2Fv1%2Fdevice", "/api%2fv1/logs", "/%61pi/v1/device", "/live%7A", "//livez", "/livez%3F", "/livez%2e"} {
		wantProblem(t, do(h, "GET", path, nil), 404, path)
	}
	if w := do(h, "GET", "/api/v1/logs?level=%77arn", nil); w.Code != 200 {
		t.Errorf("with a query: %d", w.Code)
	}
}

func TestProcessThatIsNotWholeDoesNotStart(t *testing.T) {
	p := newProcess(t)
	p.Watchdog = nil
	defer func() {
		if cause := recover(); cause != "api: Process.Watchdog is not set" {
			t.Errorf("panic %v", cause)
		}
	}()
	New(p, Settings{})
}

func TestRoleAndCostNames(t *testing.T) {
	names := []string{}
	for r := edge.Role(-1); r <= edge.Metrics+1; r++ {
		names = append(names, r.String())
	}
	for c := edge.Cost(-1); c <= edge.Endless+1; c++ {
		names = append(names, c.String())
	}
	want := strings.Fields("unknown unset Anyone Unclaimed Viewer Operator Owner Metrics unknown unknown Small Large Endless unknown")
	if !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
}

// Nobody has a role yet: what asks for one is closed, to its handler's surprise.
func TestRoutesWithRolesAreClosed(t *testing.T) {
	for role := edge.Anyone + 1; role <= edge.Metrics; role++ {
		h := New(newProcess(t), Settings{Routes: []edge.Route{{
			Method: http.MethodPost, Path: "/act", Role: role, Body: 10,
			Handle: func(*gin.Context) { t.Errorf("%v: called", role) },
		}}})
		wantProblem(t, do(h, "POST", "/act", strings.NewReader("{}")), http.StatusForbidden, "/act")
	}
}

func TestPathsThatCannotBeToldApart(t *testing.T) {
	row := func(path string) edge.Route {
		return edge.Route{Method: "GET", Path: path, Role: edge.Anyone, Handle: func(*gin.Context) {}}
	}
	for want, rows := range map[string][]edge.Route{
		"route GET /livez: it is there twice: the service has it, or two of its extensions": {row("/livez")},
		"route GET /a/:other: ':other' in new path":                                         {row("/a/:one"), row("/a/:other")},
	} {
		if err := Check(rows); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if err := Check([]edge.Route{row("/a/:one"), row("/a/b")}); err != nil {
		t.Error(err)
	}
}

// A product's route takes the query that its operation describes.
func TestQueryOfAProduct(t *testing.T) {
	row := edge.Route{
		Method: "GET", Path: "/x", Role: edge.Anyone, Summary: "X", Handle: func(c *gin.Context) { c.String(200, c.Query("depth")) },
		Operation: `{"parameters": [{"name": "depth", "in": "query", "schema": {"type": "integer"}}]}`,
	}
	if _, err := Document("x", []edge.Route{row}); err != nil {
		t.Fatal(err)
	}
	h := New(newProcess(t), Settings{Routes: []edge.Route{row}})
	for query, want := range map[string]int{"": 200, "?depth=3": 200, "?depth=3&depth=4": 400, "?deph=3": 400, "?%zz": 400} {
		if w := do(h, "GET", "/x"+query, nil); w.Code != want {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestOperationsThatAreNone(t *testing.T) {
	for operation, want := range map[string]string{
		`[]`: "its Operation is not an object of JSON", `{"parameters": {}}`: "parameters is not an array",
		`{"parameters": [{"name": "x"}]}`: "a parameter is no object with name and in", `{"responses": []}`: "responses is not an object",
	} {
		_, err := Document("x", []edge.Route{{Method: "GET", Path: "/x", Summary: "X", Operation: operation}})
		if err == nil || !strings.HasPrefix(err.Error(), "route GET /x: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", operation, err, want)
		}
	}
}

// What a product describes is kept, and what every operation has is added.
func TestDocumentOfAProduct(t *testing.T) {
	data, err := Document("acme", []edge.Route{{
		Method: "GET", Path: "/a/:id", Role: edge.Viewer, Summary: "An a", Body: 1,
		Operation: `{"tags": ["a"], "responses": {"404": {"description": "None."}}}`,
	}})
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Info  struct{ Title string }
		Paths map[string]map[string]struct {
			OperationID string
			Tags        []string
			Summary     string
			Role        string `json:"x-role"`
			Parameters  []struct{ Name, In string }
			Responses   map[string]struct{ Content any }
			RequestBody any
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	op, head := doc.Paths["/a/{id}"]["get"], doc.Paths["/a/{id}"]["head"]
	if doc.Info.Title != "acme" || op.OperationID != "get_a_id" || op.Summary != "An a" || op.Role != "Viewer" || len(op.Tags) != 1 || op.RequestBody == nil ||
		len(op.Parameters) != 3 || op.Parameters[2].Name != "id" || len(op.Responses) != 1+len(commonResponses) {
		t.Errorf("%+v", op)
	}
	if head.OperationID != "get_a_idHead" || len(head.Responses) != len(op.Responses) {
		t.Errorf("%+v", head)
	}
	for status, r := range head.Responses {
		if r.Content != nil {
			t.Errorf("HEAD has a body for %s", status)
		}
	}
}
