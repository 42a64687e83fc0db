package blackbox

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// resource is what can be asked for with GET.
type resource struct {
	path   string
	ours   bool // not of a product's extension
	closed bool // to whoever has no credentials
	stream bool // has no end
}

// ownDocument is that of the checkout, without a product's extension.
var ownDocument = sync.OnceValue(func() *openapi3.T {
	return must(openapi3.NewLoader().LoadFromFile(filepath.Join(root, "src/openapi/openapi.json")))
})

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// resources returns all that the document describes, with an example in the place
// of each parameter.
func resources(t *testing.T) []resource {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	var found []resource
	for path, item := range doc.Paths.Map() {
		if item.Get == nil {
			continue
		}
		r := resource{path: parameter.ReplaceAllString(path, "example"), ours: ownDocument().Paths.Find(path) != nil}
		r.closed = fmt.Sprint(item.Get.Extensions["x-role"]) != "Anyone"
		if answer := item.Get.Responses.Status(http.StatusOK); answer != nil {
			r.stream = answer.Value.Content.Get("text/event-stream") != nil
		}
		found = append(found, r)
	}
	return found
}

// ourCheck tells whether a check of health is the service's: those of an extension
// and of its loops have its name and a slash before their own.
func ourCheck(name string) bool { return !strings.Contains(strings.TrimPrefix(name, "loop/"), "/") }

// document is what the service says about itself.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	location, err := url.Parse(target.url + "/openapi.json")
	if err != nil {
		return nil, err
	}
	doc, err := loader.LoadFromURI(location)
	// It would be counted as a connection, for as long as the service keeps it.
	http.DefaultClient.CloseIdleConnections()
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	for _, schema := range doc.Components.Schemas {
		closeSchema(schema.Value)
	}
	return doc, nil
})

// closeSchema forbids fields that the document does not name: what is sent is
// documented.
func closeSchema(schema *openapi3.Schema) {
	if schema == nil {
		return
	}
	if len(schema.Properties) > 0 {
		no := false
		schema.AdditionalProperties = openapi3.AdditionalProperties{Has: &no}
	}
	for _, property := range schema.Properties {
		closeSchema(property.Value)
	}
	if schema.Items != nil {
		closeSchema(schema.Items.Value)
	}
}

// describedAs finds the item of a path that was asked for.
func describedAs(doc *openapi3.T, path string) *openapi3.PathItem {
	if item := doc.Paths.Find(path); item != nil {
		return item
	}
	for pattern, item := range doc.Paths.Map() {
		parts := parameter.Split(pattern, -1)
		for n := range parts {
			parts[n] = regexp.QuoteMeta(parts[n])
		}
		if len(parts) > 1 && regexp.MustCompile("^"+strings.Join(parts, "[^/]+")+"$").MatchString(path) {
			return item
		}
	}
	return nil
}

func validate(t *testing.T, method, path string, response Response) {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	// Paths that are not there are answered with the document's one error.
	described := doc.Components.Responses["Problem"]
	if item := describedAs(doc, path); item != nil && item.GetOperation(method) != nil {
		responses := item.GetOperation(method).Responses
		if described = responses.Status(response.Status); described == nil {
			described = responses.Default()
		}
	}
	for name, header := range described.Value.Headers {
		text := response.Header.Get(name)
		if text == "" && !header.Value.Required {
			continue
		}
		if err := header.Value.Schema.Value.VisitJSON(text); err != nil {
			t.Errorf("%s %s: header %s: %v", method, path, name, err)
		}
	}
	if method == http.MethodHead || path == "/openapi.json" {
		return
	}
	kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	// Of an extension's answer the document may say that there is one, and no more.
	if len(described.Value.Content) == 0 && strings.HasPrefix(path, "/api/v1/x/") {
		return
	}
	media := described.Value.Content.Get(kind)
	if media == nil {
		t.Errorf("%s %s: status %d with Content-Type %q is not in openapi.json", method, path, response.Status, kind)
		return
	}
	if media.Schema == nil || !strings.HasSuffix(kind, "json") {
		return // a page, or JSON of no described form
	}
	if err := media.Schema.Value.VisitJSON(decode[any](t, response.Body)); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
}
