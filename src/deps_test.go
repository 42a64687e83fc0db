// Package src has no code: what is here holds for the packages below it.
package src

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/meta-gin-edge/meta-gin-edge/src/"

// directions are the imports that the architecture excludes (docs/architecture.md).
// A name that ends in "/" stands for all packages below it, one that is empty for
// all of this module.
var directions = []struct{ from, to, why string }{
	{"edge", "", "types that resources outside this module are made of, too: it brings none of the service"},
	{"edge/keys", "internal/", "keys are made without a service"},
	{"edge/web", "internal/api", "handlers of products use it, and are handed to the API"},
	{"edge/web", "internal/server", "what a handler answers does not depend on its connection"},
	{"internal/", "edged", "the command is made of the parts, not the other way round"},
	{"internal/", "cmd/", "a command is only flags and exit status"},
	{"internal/api", "internal/app", "the life of the process hands resources what they need, and not itself"},
	{"internal/server", "internal/api", "the server knows connections and a handler, not what is served"},
	{"internal/server", "internal/app", "it is a part of the process, not the other way round"},
	{"internal/config", "internal/server", "it knows files; a table belongs to its owner"},
	{"internal/config", "internal/api", "it knows files; a table belongs to its owner"},
	{"internal/server", "internal/config", "it is given its settings, wherever they come from"},
	{"internal/extension", "internal/api", "it hands rows up, as it hands up checks and tables"},
	{"internal/extension", "internal/server", "what a product adds does not see connections"},
	{"internal/health", "", "the watchdog's way leads through it: nothing else may block there"},
	{"internal/events", "internal/server", "the record of a crash does not need what crashed"},
	{"internal/log", "internal/", "everything logs"},
	{"internal/firewall", "", "root runs it before the network: its own code alone"},
}

// matches tells whether a package, named as in directions, is one of them.
func matches(name, pattern string, ours bool) bool {
	if pattern == "" || strings.HasSuffix(pattern, "/") {
		return ours && strings.HasPrefix(name, pattern)
	}
	return name == pattern
}

// list is what go list says.
func list(t *testing.T, args ...string) string {
	t.Helper()
	output, err := exec.Command("go", append([]string{"list", "-tags", "nomsgpack"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return string(output)
}

func TestDirections(t *testing.T) {
	used := make([]bool, len(directions))
	for line := range strings.Lines(list(t, "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")) {
		words := strings.Fields(line)
		from, _ := strings.CutPrefix(words[0], module)
		for n, d := range directions {
			if !matches(from, d.from, true) {
				continue
			}
			used[n] = true
			for _, imported := range words[1:] {
				to, ours := strings.CutPrefix(imported, module)
				if matches(to, d.to, ours) {
					t.Errorf("%s imports %s: %s", from, to, d.why)
				}
			}
		}
	}
	for n, d := range directions {
		if !used[n] {
			t.Errorf("there is no package %s: mend the row", d.from)
		}
	}
}

// What is not linked into the service, by whatever way.
func TestServiceIsWithout(t *testing.T) {
	linked := strings.Fields(list(t, "-deps", "./cmd/gin-edged"))
	if !slices.Contains(linked, module+"internal/app") {
		t.Fatalf("%d packages, and not the service's own", len(linked))
	}
	for unwanted, why := range map[string]string{
		"os/exec":                    "the service starts no other program",
		module + "internal/firewall": "the service has no rights, and nothing to do with rules",
	} {
		if slices.Contains(linked, unwanted) {
			t.Errorf("gin-edged links %s: %s", unwanted, why)
		}
	}
}
