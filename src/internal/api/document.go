package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/openapi"
)

// object is one of JSON whose members stay as they are.
type object map[string]json.RawMessage

func (o object) set(name string, value any) { o[name] = mustJSON(value) }

// fill sets what is not there.
func (o object) fill(name string, value any) {
	if _, ok := o[name]; !ok {
		o.set(name, value)
	}
}

type reference struct {
	Ref string `json:"$ref"`
}

// common are what every operation of the document has.
var (
	commonParameters = []any{reference{"#/components/parameters/X-Request-Id"}, reference{"#/components/parameters/traceparent"}}
	commonResponses  = map[string]string{
		"400": "Malformed", "403": "Forbidden", "421": "Misdirected", "429": "TooMany", "431": "HeaderTooLarge", "503": "Busy", "default": "Problem",
	}
)

// Document is what /openapi.json answers: the document of the service with the
// rows of a product, under its name. An error names the row.
func Document(product string, rows []edge.Route) ([]byte, error) {
	var doc, info object
	var paths map[string]map[string]object
	var components struct {
		Responses map[string]json.RawMessage `json:"responses"`
	}
	mustParse(openapi.Base, &doc)
	mustParse(doc["info"], &info)
	mustParse(doc["paths"], &paths)
	mustParse(doc["components"], &components)
	for _, row := range rows {
		if row.Summary == "" {
			continue // a file of a page
		}
		op, err := operation(row)
		if err != nil {
			return nil, fmt.Errorf("route %s %s: %w", row.Method, row.Path, err)
		}
		path := documentPath(row.Path)
		if paths[path] == nil {
			paths[path] = map[string]object{}
		}
		paths[path][strings.ToLower(row.Method)] = op
	}
	for _, operations := range paths {
		if get, ok := operations["get"]; ok {
			operations["head"] = head(get, components.Responses)
		}
	}
	info.set("title", product)
	doc.set("info", info)
	doc.set("paths", paths)
	return mustJSON(doc), nil
}

// mustParse is for the document, which is part of the program.
func mustParse(data []byte, to any) {
	if err := json.Unmarshal(data, to); err != nil {
		panic(err)
	}
}

// operation is that of a row of a product.
func operation(row edge.Route) (object, error) {
	op := object{}
	if row.Operation != "" {
		if err := json.Unmarshal([]byte(row.Operation), &op); err != nil {
			return nil, fmt.Errorf("its Operation is not an object of JSON: %w", err)
		}
	}
	op.set("summary", row.Summary)
	op.set("x-role", row.Role.String())
	words := strings.FieldsFunc(row.Path, func(r rune) bool { return strings.ContainsRune("/:-._", r) })
	op.fill("operationId", strings.ToLower(row.Method)+"_"+strings.Join(words, "_"))

	var given []json.RawMessage
	if raw, ok := op["parameters"]; ok {
		if err := json.Unmarshal(raw, &given); err != nil {
			return nil, fmt.Errorf("its Operation: parameters is not an array: %w", err)
		}
	}
	parameters := append([]any(nil), commonParameters...)
	named := map[string]bool{}
	for _, raw := range given {
		var p parameter
		if err := json.Unmarshal(raw, &p); err != nil || p.Name == "" || p.In == "" {
			return nil, errors.New("its Operation: a parameter is no object with name and in")
		}
		named[p.In+" "+p.Name] = true
		parameters = append(parameters, raw)
	}
	for part := range strings.SplitSeq(row.Path, "/") {
		if name, ok := strings.CutPrefix(part, ":"); ok && !named["path "+name] {
			parameters = append(parameters, map[string]any{"name": name, "in": "path", "required": true, "schema": map[string]string{"type": "string"}})
		}
	}
	op.set("parameters", parameters)

	responses := object{}
	if raw, ok := op["responses"]; ok {
		if err := json.Unmarshal(raw, &responses); err != nil {
			return nil, fmt.Errorf("its Operation: responses is not an object: %w", err)
		}
	} else {
		responses.set("200", map[string]string{"description": "The answer."})
	}
	for status, name := range commonResponses {
		responses.fill(status, reference{"#/components/responses/" + name})
	}
	op.set("responses", responses)
	if row.Body > 0 {
		op.fill("requestBody", map[string]any{"content": map[string]any{"application/json": map[string]any{}}})
	}
	return op, nil
}

type parameter struct{ Name, In string }

// queryOf returns the readers for what the operation of a product's row has in
// its query: any value, which the handler reads. The operation has been checked.
func queryOf(row edge.Route) readers {
	var op struct{ Parameters []parameter }
	if row.Operation != "" {
		mustParse([]byte(row.Operation), &op)
	}
	known := readers{}
	for _, p := range op.Parameters {
		if p.In == "query" {
			known[p.Name] = func(string) error { return nil }
		}
	}
	return known
}

// documentPath writes /:name as {name}.
func documentPath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}

// head is the operation of GET without the bodies of its answers.
func head(get object, shared map[string]json.RawMessage) object {
	op := object{}
	for name, value := range get {
		op[name] = value
	}
	var id, summary string
	mustParse(get["operationId"], &id)
	mustParse(get["summary"], &summary)
	op.set("operationId", id+"Head")
	op.set("summary", summary+" ("+http.MethodHead+": the header only)")
	var responses map[string]object
	mustParse(get["responses"], &responses)
	for status, response := range responses {
		var r reference
		if raw, ok := response["$ref"]; ok {
			mustParse(raw, &r.Ref)
			response = object{}
			mustParse(shared[strings.TrimPrefix(r.Ref, "#/components/responses/")], &response)
		}
		delete(response, "content")
		responses[status] = response
	}
	op.set("responses", responses)
	return op
}
