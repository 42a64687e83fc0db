package openapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "write openapi.json anew from openapi.yaml")

func TestJSONIsTheYAML(t *testing.T) {
	source, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := yaml.UnmarshalWithOptions(source, &document, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(Base, want) {
		t.Error("openapi.json is not what openapi.yaml says: go generate ./openapi")
	}
}
