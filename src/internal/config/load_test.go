package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// dataLayers are a good layer below one on a data partition.
func dataLayers(t *testing.T, text string) []Layer {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "etc"), "[server]\nmax_connections = 9\n")
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	data := Layer{Path: filepath.Join(dir, "data.toml"), Optional: true, Good: filepath.Join(dir, "state/data.toml.good")}
	write(t, data.Path, text)
	return []Layer{{Path: filepath.Join(dir, "etc")}, data}
}

// A mistake on the data partition stops no start; everything else is strict.
func TestStartPassesOverABadDataLayer(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"unknown key":    {"[server]\nmax_conns = 5\n", "data.toml:2: key server.max_conns: unknown key"},
		"syntax":         {"[server\n", "data.toml:1: "},
		"torn":           {"[log]\nlevel = \"deb", "data.toml:2: "},
		"zeros":          {"[log]\nlevel = \"debug\"\n\x00\x00\x00", "data.toml:3: "},
		"disagreement":   {"[log]\nlevel = \"debug\"\n[server]\nread_timeout = \"2s\"\n", "data.toml:4: key server.read_timeout: "},
		"not a file":     {"", "data.toml: not a regular file"},
		"unreadable":     {"", "data.toml: permission denied"},
		"later mistakes": {"[server]\nmax_connections = 5\n[log]\nlevel = \"debug\"\nx = 1\n", "data.toml:5: key log.x"},
	} {
		t.Run(name, func(t *testing.T) {
			layers := dataLayers(t, tc.text)
			switch name {
			case "not a file":
				if err := errors.Join(os.Remove(layers[1].Path), syscall.Mkfifo(layers[1].Path, 0o600)); err != nil {
					t.Fatal(err)
				}
			case "unreadable":
				layers[1].Read = func() ([]byte, error) {
					return nil, &os.PathError{Op: "open", Path: layers[1].Path, Err: syscall.EACCES}
				}
			}
			c, err := LoadStart(t.Context(), tables, layers)
			if err != nil {
				t.Fatal(err)
			}
			// Nothing of it is in force, not even what came before the mistake.
			if of(c).Server.MaxConnections != 9 || of(c).Log.Level != "info" || len(c.Sources) != 1 || len(c.Skipped) != 1 {
				t.Fatalf("%+v", c)
			}
			if s := c.Skipped[0]; s.Path != layers[1].Path || s.Copy != "" || !strings.Contains(s.String(), tc.want) ||
				!strings.HasSuffix(s.String(), "; it is left out: mend the file and reload") {
				t.Errorf("%s", s)
			}
			if _, err := Load(tables, layers); err == nil {
				t.Error("a reload accepts it")
			}
			// The file is not touched, nor is its copy.
			if err := c.KeepCopies(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(layers[1].Good); err == nil {
				t.Error("a bad file became the good copy")
			}
			layers[1].Good = ""
			if _, err := LoadStart(t.Context(), tables, layers); err == nil {
				t.Error("the same in another layer is accepted")
			}
		})
	}
}

func TestStartIsStrictBelow(t *testing.T) {
	for _, text := range []string{"[server]\nmax_conns = 5\n", "[server]\nread_timeout = \"2s\"\n"} {
		// The data layer could mend what disagrees below it; it has not been asked.
		layers := dataLayers(t, "[server]\nread_header_timeout = \"1s\"\n")
		write(t, layers[0].Path, text)
		if c, err := LoadStart(t.Context(), tables, layers); err == nil || !strings.Contains(err.Error(), layers[0].Path+":2: ") {
			t.Errorf("%q: %v, %+v", text, err, c)
		}
	}
}

func TestLastGoodCopy(t *testing.T) {
	layers := dataLayers(t, "[log]\nlevel = \"debug\"\n")
	start := func() *Config {
		t.Helper()
		c, err := LoadStart(t.Context(), tables, layers)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.KeepCopies(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := start(); of(c).Log.Level != "debug" || len(c.Skipped) > 0 {
		t.Errorf("%+v", c)
	}
	write(t, layers[1].Path, "[log]\nlevel = \"loud\"\n")
	for range 2 { // it stays for the next start
		c := start()
		if of(c).Log.Level != "debug" || len(c.Skipped) != 1 || c.Skipped[0].Copy != layers[1].Good ||
			!reflect.DeepEqual(c.Sources, []string{layers[0].Path, layers[1].Good}) ||
			!strings.Contains(c.Skipped[0].String(), "; its last good copy "+layers[1].Good+" is in force: mend the file and reload") {
			t.Errorf("%+v", c)
		}
	}
	// An update that knows other keys: the copy is held to the same.
	write(t, layers[1].Good, "[log]\nlevle = \"debug\"\n")
	if c := start(); of(c).Log.Level != "info" || c.Skipped[0].Copy != "" {
		t.Errorf("%+v", c)
	}
	// A file that was removed on purpose does not come back.
	if err := os.Remove(layers[1].Path); err != nil {
		t.Fatal(err)
	}
	if c := start(); len(c.Skipped) > 0 {
		t.Errorf("%+v", c)
	}
	write(t, layers[1].Path, "[log]\nlevel = \"loud\"\n")
	if c := start(); c.Skipped[0].Copy != "" {
		t.Errorf("%+v", c)
	}
	// The folder is made, and no place for it is said, no more.
	write(t, layers[1].Path, "")
	if err := os.Remove(filepath.Dir(layers[1].Good)); err != nil {
		t.Fatal(err)
	}
	start()
	if _, err := os.Stat(layers[1].Good); err != nil {
		t.Error(err)
	}
	layers[1].Good = filepath.Join(filepath.Dir(layers[0].Path), "missing/state/good")
	c, err := LoadStart(t.Context(), tables, layers)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.KeepCopies(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A medium that does not answer costs a limited time, and one thread.
func TestLayersThatHang(t *testing.T) {
	layers := dataLayers(t, "[log]\nlevel = \"debug\"\n")
	release := make(chan struct{})
	var calls atomic.Int32
	layers[1].Read = func() ([]byte, error) {
		calls.Add(1)
		<-release
		return nil, nil
	}
	begin := time.Now()
	c, err := LoadStart(t.Context(), tables, layers)
	if err != nil || len(c.Skipped) != 1 || !strings.Contains(c.Skipped[0].String(), layers[1].Path+": no answer from its medium within 2s; it is left out") {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := Load(tables, layers); !errors.Is(err, errNoAnswer) {
		t.Errorf("a reload: %v", err)
	}
	if d := time.Since(begin); d > 2*ReadTimeout+10*time.Second || calls.Load() != 1 {
		t.Errorf("%d reads in %v", calls.Load(), d)
	}
	// A stop does not even wait for that.
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	begin = time.Now()
	for _, load := range []func(context.Context, []Table, []Layer) (*Config, error){LoadStart, LoadContext} {
		if c, err := load(ctx, tables, layers); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v, %v", c, err)
		}
	}
	if d := time.Since(begin); d > ReadTimeout {
		t.Errorf("a stop waited %v", d)
	}
	close(release)
	layers[1].Read = nil
	if c, err := Load(tables, layers); err != nil || of(c).Log.Level != "debug" {
		t.Errorf("when it answers again: %+v, %v", c, err)
	}
}

func TestFIFODoesNotBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := Load(tables, []Layer{{Path: path}}); err == nil || !strings.Contains(err.Error(), "not a regular file") || time.Since(begin) > ReadTimeout {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

func TestWritersAreNamed(t *testing.T) {
	for _, tc := range []struct {
		mode        os.FileMode
		owner, self int
		data        bool
		want        string
	}{
		{0o644, 0, 990, true, ""},
		{0o600, 1000, 1000, false, ""}, // a developer's
		{0o646, 0, 990, false, "x: everybody may write it; chmod o-w x"},
		{0o600, 990, 990, true, "x: belongs to the user of the service, which could change its own configuration; chown root x"},
		{0o600, 1000, 990, false, "x: belongs to user 1000, neither root nor the user of the service; chown root x"},
		{0o600, 0, 0, true, ""},
	} {
		if got := writers("x", tc.mode, tc.owner, tc.self, tc.data); got != tc.want {
			t.Errorf("%+v: %q", tc, got)
		}
	}
	path := filepath.Join(t.TempDir(), "c.toml")
	write(t, path, "")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(tables, []Layer{{Path: path}}); err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "everybody may write it") {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestRenamedKeys(t *testing.T) {
	defer func(before []renaming) { renamed = before }(renamed)
	renamed = []renaming{
		{old: "server.max_conns", now: "server.max_connections"},
		{old: "server.turbo", note: "it had no effect"},
		{old: "http.level", now: "log.level"},
	}
	path := filepath.Join(t.TempDir(), "c.toml")
	write(t, path, "server.max_conns = 7\nserver.turbo = { any = [1] }\n[http]\nlevel = \"warn\"\n")
	c, err := Load(tables, []Layer{{Path: path}})
	if err != nil || of(c).Server.MaxConnections != 7 || of(c).Log.Level != "warn" {
		t.Fatalf("%+v, %v", c, err)
	}
	want := []string{
		path + ":1: key server.max_conns is now called server.max_connections; the next release does not know it",
		path + ":2: key server.turbo is no longer used; remove it: it had no effect; the next release does not know it",
		path + ":4: key http.level is now called log.level; the next release does not know it",
	}
	if !reflect.DeepEqual(c.Warnings, want) {
		t.Errorf("%q", c.Warnings)
	}
	// The values are held to what the new key takes.
	write(t, path, "server.max_conns = \"many\"\n")
	if _, err := Load(tables, []Layer{{Path: path}}); err == nil || !strings.Contains(err.Error(), "key server.max_conns: must be an integer") {
		t.Error(err)
	}
	for _, r := range renamed {
		if c.key(r.old) != nil {
			t.Errorf("%s is a key of this release", r.old)
		}
	}
}

// Messages fit into one datagram for systemd, whatever a file says.
func TestMessagesAreShort(t *testing.T) {
	long := strings.Repeat("x", maxFileBytes-100)
	for _, text := range []string{
		long + " = 1\n", "\"" + long + "\" = 1\n", "[" + long + "]\n", "log.level = \"" + long + "\"\n",
		"server.listen = [\"" + long + "\"]\n", "storage.data = \"" + long + "\"\n", "server.idle_timeout = \"" + long + "\"\n",
		"a = 1\n" + long + " = 1\n" + long + " = 2", "access.hosts = [\"" + long + "\"]\n", "server.max_connections = " + strings.Repeat("1", 5000) + "\n",
	} {
		if err := Default(tables).Merge("f", []byte(text)); err == nil || len(err.Error()) > 2048 {
			t.Errorf("%.40q: an error of %d bytes", text, len(fmt.Sprint(err)))
		}
	}
}

func TestLabels(t *testing.T) {
	label := Labels(append(DefaultLayers(), Layer{Path: "/tmp/x/c.toml"}))
	for text, want := range map[string]string{
		"/data/gin-edge/gin-edged.toml:2: a": "data/gin-edged.toml:2: a",
		"open /srv/data-1/gin-edge/gin-edged.toml: x; its copy /srv/data-1/gin-edge/state/config/gin-edged.toml is": "open data/gin-edged.toml: x; its copy data/gin-edged.toml.good is",
		"/etc/gin-edge/gin-edged.toml":                                           "etc/gin-edged.toml",
		"/usr/lib/gin-edge/gin-edged.toml, /usr/lib/gin-edge/gin-edge-data.toml": "vendor/gin-edged.toml, vendor/gin-edge-data.toml",
		"/tmp/x/c.toml:1: key a: b":                                              "c.toml:1: key a: b",
		"nothing":                                                                "nothing",
	} {
		if got := label(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// The copy of a file below the mount point is kept below it, too.
func TestLastGoodCopyBelowTheMountPoint(t *testing.T) {
	dir := t.TempDir()
	first := filepath.Join(dir, "first")
	write(t, first, "[storage]\ndata = \""+dir+"\"\n")
	layers := append([]Layer{{Path: first}}, DefaultLayers()[3])
	if err := os.MkdirAll(filepath.Join(dir, "gin-edge/state"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "gin-edge/gin-edged.toml")
	write(t, file, "log.level = \"warn\"")
	c, err := LoadStart(t.Context(), tables, layers)
	if err != nil || of(c).Log.Level != "warn" {
		t.Fatalf("%+v, %v", c, err)
	}
	if err := c.KeepCopies(); err != nil {
		t.Fatal(err)
	}
	write(t, file, "log.level =")
	c, err = LoadStart(t.Context(), tables, layers)
	if err != nil || of(c).Log.Level != "warn" || len(c.Skipped) != 1 || c.Skipped[0].Copy != filepath.Join(dir, "gin-edge/state/config/gin-edged.toml") {
		t.Errorf("%+v, %v", c, err)
	}
	if got := Labels(layers)(c.Skipped[0].String()); strings.Contains(got, dir) || !strings.HasPrefix(got, "data/gin-edged.toml:1: ") {
		t.Error(got)
	}
}
