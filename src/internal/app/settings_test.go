package app

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
)

// empty are the tables with no defaults at all.
func empty(tables []config.Table) []config.Table {
	var all []config.Table
	for _, table := range tables {
		kind := reflect.TypeOf(table.New()).Elem()
		all = append(all, config.Table{Name: table.Name, New: func() edge.Settings { return reflect.New(kind).Interface().(edge.Settings) }})
	}
	return all
}

// differences compares what a source says of every table, whole, with the
// defaults, so that a table which is added is compared, too.
func differences(tables []config.Table, source, text string) []string {
	c := config.Default(empty(tables))
	if err := c.Merge(source, []byte(text)); err != nil {
		return []string{err.Error()}
	}
	var all []string
	for _, table := range tables {
		got, want := c.Values(table.Name), table.New()
		if !reflect.DeepEqual(got, want) {
			all = append(all, fmt.Sprintf("[%s] of %s: %+v, the defaults are %+v", table.Name, source, got, want))
		}
		for _, key := range want.Keys() {
			if name := table.Name + "." + key.Name; c.Origin(name) != source {
				all = append(all, name+" is missing in "+source)
			}
		}
	}
	return all
}

// A new table with a wrong documented default, or without a line, is found.
func TestWrongDefaultsAreFound(t *testing.T) {
	tables := []config.Table{{Name: "tls", New: func() edge.Settings { return &pace{Pace: time.Minute} }}}
	for text, want := range map[string]string{
		"[tls]\npace = \"1m\"\n": "", "[tls]\npace = \"2m\"\n": "[tls] of f: ", "": "[tls] of f: ", "[tls]\n": "tls.pace is missing in f",
	} {
		if got := strings.Join(differences(tables, "f", text), "\n"); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %s", text, got)
		}
	}
}

// The schema, the defaults and the printed form belong together.
func TestPrintedDefaultsReadBack(t *testing.T) {
	printed := config.Default(own).TOML()
	for _, difference := range differences(own, "printed", printed) {
		t.Error(difference)
	}
}

// The packaged file documents the defaults: every key, with its value.
func TestPackagedFileHoldsTheDefaults(t *testing.T) {
	const file = "../../../meta-gin-edge/recipes-gin-edge/gin-edge-conf/files/gin-edged.toml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("the module is outside its repository: %v", err)
	}
	for _, difference := range differences(own, file, string(data)) {
		t.Error(difference)
	}
}
