package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/api"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

// tables are those that the files of testdata are about.
var tables = []Table{
	{"server", func() edge.Settings { return server.DefaultSettings() }},
	{"access", func() edge.Settings { return &api.Access{Hosts: []string{}} }},
	{"log", func() edge.Settings { return log.DefaultSettings() }},
	{"storage", func() edge.Settings { return &storage.Settings{} }},
}

type values struct {
	Server  *server.Settings
	Access  *api.Access
	Log     *log.Settings
	Storage *storage.Settings
}

func of(c *Config) values {
	return values{Of[*server.Settings](c), Of[*api.Access](c), Of[*log.Settings](c), Of[*storage.Settings](c)}
}

func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 20 {
		t.Fatalf("fixtures: %d, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(strings.TrimSuffix(file, ".toml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			_, err = Load(tables, []Layer{{Path: file}})
			if err == nil {
				t.Fatal("it was accepted")
			}
			if want := file + strings.TrimSpace(string(want)); !strings.HasPrefix(err.Error(), want) {
				t.Errorf("error\n %v\nwant\n %s", err, want)
			}
			if strings.ContainsAny(err.Error(), "\n\a") {
				t.Errorf("error %q is not one clean line", err)
			}
		})
	}
}

func TestGoodFiles(t *testing.T) {
	for name, change := range map[string]func(*values){
		"empty": func(*values) {},
		"dotted": func(v *values) {
			v.Server.Listen = []string{":80", "[::1]:8080"}
			v.Server.MaxConnections = 1000
			v.Server.MemoryBudget = 32 << 20
			v.Log.Level = "debug"
		},
		"all": func(v *values) {
			*v.Server = server.Settings{
				Listen: []string{"0.0.0.0:0"}, ReadHeaderTimeout: 100 * time.Millisecond, ReadTimeout: 90 * time.Second,
				WriteTimeout: 10 * time.Minute, IdleTimeout: time.Second, MaxHeaderBytes: 4096, MaxConnections: 4096,
				DrainTimeout: 5 * time.Minute, MinRate: 1, MaxHeaderLines: 16, MaxConnectionsPerSource: 4096, MaxRequestsPerSource: 1,
				TrustedSources: []netip.Prefix{
					netip.MustParsePrefix("192.168.1.7/32"), netip.MustParsePrefix("10.0.0.0/8"),
					netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("192.0.2.1/32"),
				},
				MemoryBudget: 1 << 30,
			}
			v.Access.Hosts, v.Log.Level, v.Storage.Data = []string{"device.example.com", "_a"}, "error", "/srv/data-1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := Default(tables)
			v := of(want)
			change(&v)
			got, err := Load(tables, []Layer{{Path: "testdata/good/" + name + ".toml"}})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(of(got), v) {
				t.Errorf("got\n%s\nwant\n%s", got.TOML(), want.TOML())
			}
		})
	}
}

func TestLayersMergeKeyByKey(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	vendor := write("vendor", "[server]\nlisten = [\":1\", \":2\"]\nmax_connections = 10\n")
	admin := write("admin", "[server]\nlisten = [\":3\"]\n[log]\nlevel = \"warn\"\n")
	c, err := Load(tables, []Layer{{Path: vendor, Optional: true}, {Path: filepath.Join(dir, "missing"), Optional: true}, {Path: admin, Optional: true}})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(of(c).Server.Listen, []string{":3"}) || of(c).Server.MaxConnections != 10 || of(c).Log.Level != "warn" {
		t.Errorf("merged: %+v %+v", of(c).Server, of(c).Log)
	}
	if !reflect.DeepEqual(c.Sources, []string{vendor, admin}) {
		t.Errorf("sources: %v", c.Sources)
	}
	if c.Origin("server.listen") != admin || c.Origin("server.max_connections") != vendor || c.Origin("server.idle_timeout") != "" {
		t.Errorf("origin: %v", c.origin)
	}
}

// The last layer is where the layers before it say that the data partition is.
func TestLayerOnTheDataPartition(t *testing.T) {
	dir := t.TempDir()
	first, data := filepath.Join(dir, "first"), filepath.Join(dir, "data_1")
	last := data + "/gin-edge/gin-edged.toml"
	if err := os.MkdirAll(filepath.Dir(last), 0o700); err != nil {
		t.Fatal(err)
	}
	// What it says of itself leads to no further file.
	if err := os.WriteFile(last, []byte("[log]\nlevel = \"warn\"\n[storage]\ndata = \"/elsewhere\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		first, level string
		sources      []string
	}{
		{"", "info", []string{first}},
		{"[storage]\ndata = \"" + dir + "/absent\"\n", "info", []string{first}},
		{"[storage]\ndata = \"" + data + "\"\n", "warn", []string{first, last}},
	} {
		if err := os.WriteFile(first, []byte(tc.first), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(tables, []Layer{{Path: first}, {Path: "/gin-edge/gin-edged.toml", Optional: true, OnData: true}})
		if err != nil {
			t.Fatal(err)
		}
		if of(c).Log.Level != tc.level || !reflect.DeepEqual(c.Sources, tc.sources) {
			t.Errorf("after %q: level %s, sources %v; want %s, %v", tc.first, of(c).Log.Level, c.Sources, tc.level, tc.sources)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, maxFileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		layer Layer
		want  string
	}{
		{Layer{Path: filepath.Join(dir, "missing")}, "no such file"},
		{Layer{Path: dir, Optional: true}, "not a regular file"},
		{Layer{Path: large, Optional: true}, "larger than"},
	} {
		if _, err := Load(tables, []Layer{tc.layer}); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.layer.Path) {
			t.Errorf("%+v: error %v, want %q", tc.layer, err, tc.want)
		}
	}
}

// A secret is set like any other key, and shown nowhere.
func TestSecrets(t *testing.T) {
	c := Default([]Table{{"x.a", func() edge.Settings { return &withSecret{} }}})
	if err := c.Merge("f", []byte("[x.a]\ntoken = \"swordfish\"\n")); err != nil {
		t.Fatal(err)
	}
	v := Of[*withSecret](c)
	shown, err := json.Marshal(v)
	text := c.TOML() + string(shown) + fmt.Sprintf("%v %+v %#v %s %q", v, v, v, v.Token, v.Token)
	if err != nil || v.Token != "swordfish" || strings.Contains(text, "swordfish") || !strings.Contains(text, "# token is secret and set") {
		t.Errorf("%v, %s", err, text)
	}
	for _, value := range []string{"7", `"` + strings.Repeat("swordfish", 9) + `"`} {
		if err := c.Merge("f", []byte("x.a.token = "+value)); err == nil || strings.Contains(err.Error(), "fish") {
			t.Errorf("%v", err)
		}
	}
}

type withSecret struct{ Token edge.Secret }

func (s *withSecret) Keys() []edge.Key { return []edge.Key{keys.Secret("token", &s.Token, 64)} }
func (s *withSecret) Check() error     { return nil }

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.toml", "testdata/bad/*.toml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := Default(tables)
		if err := c.Merge("f", data); err != nil {
			if !strings.HasPrefix(err.Error(), "f:") || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Fatalf("error %q", err)
			}
			return
		}
		again := Default(tables)
		if err := again.Merge("f", []byte(c.TOML())); err != nil {
			t.Fatalf("%v in\n%s", err, c.TOML())
		}
		if !reflect.DeepEqual(of(again), of(c)) {
			t.Fatalf("%+v reads back as %+v", c, again)
		}
	})
}
