package app

import (
	"os"
	"reflect"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
)

// empty are the service's own tables with no defaults at all.
func empty() []config.Table {
	var tables []config.Table
	for _, table := range own {
		kind := reflect.TypeOf(table.New()).Elem()
		tables = append(tables, config.Table{Name: table.Name, New: func() edge.Settings { return reflect.New(kind).Interface().(edge.Settings) }})
	}
	return tables
}

// wantDefaults compares every table whole, so that one which is added is
// compared, too.
func wantDefaults(t *testing.T, c *config.Config, source string) {
	t.Helper()
	for _, table := range own {
		got, want := c.Values(table.Name), table.New()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("[%s] of %s: %+v, the defaults are %+v", table.Name, source, got, want)
		}
		for _, key := range want.Keys() {
			if name := table.Name + "." + key.Name; c.Origin(name) != source {
				t.Errorf("%s is missing in %s", name, source)
			}
		}
	}
}

// The schema, the defaults and the printed form belong together.
func TestPrintedDefaultsReadBack(t *testing.T) {
	printed := config.Default(own).TOML()
	c := config.Default(empty())
	if err := c.Merge("printed", []byte(printed)); err != nil {
		t.Fatalf("%v in\n%s", err, printed)
	}
	wantDefaults(t, c, "printed")
}

// The packaged file documents the defaults: every key, with its value.
func TestPackagedFileHoldsTheDefaults(t *testing.T) {
	const file = "../../../meta-gin-edge/recipes-gin-edge/gin-edge-conf/files/gin-edged.toml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("the module is outside its repository: %v", err)
	}
	c := config.Default(empty())
	if err := c.Merge(file, data); err != nil {
		t.Fatal(err)
	}
	wantDefaults(t, c, file)
}
