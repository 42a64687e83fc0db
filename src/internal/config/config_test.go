package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

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
			_, err = Load([]Layer{{Path: file}})
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
	all := &Config{
		Server: Server{
			Listen: []string{"0.0.0.0:0"}, ReadHeaderTimeout: 100 * time.Millisecond, ReadTimeout: 90 * time.Second,
			WriteTimeout: 10 * time.Minute, IdleTimeout: time.Second, MaxHeaderBytes: 4096, MaxConnections: 4096,
			DrainTimeout: 5 * time.Minute, MinRate: 1, MaxHeaderLines: 16, MaxConnectionsPerSource: 4096, MaxRequestsPerSource: 1,
			TrustedSources: []netip.Prefix{
				netip.MustParsePrefix("192.168.1.7/32"), netip.MustParsePrefix("10.0.0.0/8"),
				netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("192.0.2.1/32"),
			},
			MemoryBudget: 1 << 30,
		},
		Access: Access{Hosts: []string{"device.example.com", "_a"}},
		Log:    Log{Level: "error"}, Storage: Storage{Data: "/srv/data-1"},
	}
	dotted := Default()
	dotted.Server.Listen = []string{":80", "[::1]:8080"}
	dotted.Server.MaxConnections = 1000
	dotted.Server.MemoryBudget = 32 << 20
	dotted.Log.Level = "debug"
	for name, want := range map[string]*Config{"empty": Default(), "dotted": dotted, "all": all} {
		t.Run(name, func(t *testing.T) {
			got, err := Load([]Layer{{Path: "testdata/good/" + name + ".toml"}})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Server, want.Server) || !reflect.DeepEqual(got.Access, want.Access) || got.Log != want.Log || got.Storage != want.Storage {
				t.Errorf("got  %+v %+v %+v\nwant %+v %+v %+v", got.Server, got.Log, got.Storage, want.Server, want.Log, want.Storage)
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
	c, err := Load([]Layer{{Path: vendor, Optional: true}, {Path: filepath.Join(dir, "missing"), Optional: true}, {Path: admin, Optional: true}})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Server.Listen, []string{":3"}) || c.Server.MaxConnections != 10 || c.Log.Level != "warn" {
		t.Errorf("merged: %+v %+v", c.Server, c.Log)
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
		c, err := Load([]Layer{{Path: first}, {Path: "/gin-edge/gin-edged.toml", Optional: true, OnData: true}})
		if err != nil {
			t.Fatal(err)
		}
		if c.Log.Level != tc.level || !reflect.DeepEqual(c.Sources, tc.sources) {
			t.Errorf("after %q: level %s, sources %v; want %s, %v", tc.first, c.Log.Level, c.Sources, tc.level, tc.sources)
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
		if _, err := Load([]Layer{tc.layer}); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.layer.Path) {
			t.Errorf("%+v: error %v, want %q", tc.layer, err, tc.want)
		}
	}
}

// The schema, the defaults and the printed form belong together.
func TestPrintedDefaultsReadBack(t *testing.T) {
	c := Default()
	again := &Config{origin: map[string]place{}}
	if err := again.Merge("printed", []byte(c.TOML())); err != nil {
		t.Fatalf("%v in\n%s", err, c.TOML())
	}
	if !reflect.DeepEqual(again.Server, c.Server) || !reflect.DeepEqual(again.Access, c.Access) || again.Log != c.Log || again.Storage != c.Storage {
		t.Errorf("got %+v %+v", again.Server, again.Log)
	}
	for _, k := range keys {
		if again.Origin(k.name) != "printed" {
			t.Errorf("%s was not printed", k.name)
		}
	}
}

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
		c := Default()
		if err := c.Merge("f", data); err != nil {
			if !strings.HasPrefix(err.Error(), "f:") || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Fatalf("error %q", err)
			}
			return
		}
		again := Default()
		if err := again.Merge("f", []byte(c.TOML())); err != nil {
			t.Fatalf("%v in\n%s", err, c.TOML())
		}
		if !reflect.DeepEqual(again.Server, c.Server) || !reflect.DeepEqual(again.Access, c.Access) || again.Log != c.Log || again.Storage != c.Storage {
			t.Fatalf("%+v reads back as %+v", c, again)
		}
	})
}

// The packaged file documents the defaults: every key, with its value.
func TestPackagedFileHoldsTheDefaults(t *testing.T) {
	const file = "../../../meta-gin-edge/recipes-gin-edge/gin-edge-conf/files/gin-edged.toml"
	if _, err := os.Stat(file); err != nil {
		t.Skipf("the module is outside its repository: %v", err)
	}
	c, err := Load([]Layer{{Path: file}})
	if err != nil {
		t.Fatal(err)
	}
	if d := Default(); !reflect.DeepEqual(c.Server, d.Server) || !reflect.DeepEqual(c.Access, d.Access) || c.Log != d.Log || c.Storage != d.Storage {
		t.Errorf("file:     %+v %+v\ndefaults: %+v %+v", c.Server, c.Log, d.Server, d.Log)
	}
	for _, k := range keys {
		if c.Origin(k.name) != file {
			t.Errorf("%s is missing", k.name)
		}
	}
}
