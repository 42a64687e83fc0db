// Package layer tests the programs of the layer meta-gin-edge that run in a
// build.
package layer

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const fill = "../../meta-gin-edge/recipes-gin-edge/files/gin-edge-fill"

// run fills in a folder; defaults are those of conf/layer.conf but for what
// the settings say.
func run(t *testing.T, folder string, settings ...string) (output string, ok bool) {
	t.Helper()
	command := exec.Command(fill, folder)
	command.Env = append(os.Environ(), "GIN_EDGE_DATA_DIR=/data", "GIN_EDGE_PORT=80", "GIN_EDGE_UID=660", "GIN_EDGE_UNIT=gin-edged.service")
	command.Env = append(command.Env, settings...)
	text, err := command.CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatal(err)
	}
	return string(text), err == nil
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestFill(t *testing.T) {
	for _, tc := range []struct{ dir, mount string }{
		{"/data", "data.mount"},
		{"/srv/state", "srv-state.mount"},
		{"/var/lib/a_b.1", "var-lib-a_b.1.mount"},
	} {
		folder := t.TempDir()
		write(t, folder+"/units/@GIN_EDGE_DATA_MOUNT@", "Where=@GIN_EDGE_DATA_DIR@\nAfter=@GIN_EDGE_DATA_MOUNT@ @GIN_EDGE_UNIT@\n", 0o644)
		write(t, folder+"/@GIN_EDGE_UNIT@.d/@GIN_EDGE_PORT@.conf", "@GIN_EDGE_PORT@@GIN_EDGE_PORT@ a@b.service\n", 0o644)
		write(t, folder+"/sysusers", "u gin-edge @GIN_EDGE_UID@ -\n", 0o644)
		write(t, folder+"/program", "#!/bin/sh\ncd @GIN_EDGE_DATA_DIR@/x\n", 0o755)
		if output, ok := run(t, folder, "GIN_EDGE_DATA_DIR="+tc.dir, "GIN_EDGE_PORT=65535", "GIN_EDGE_UID=999", "GIN_EDGE_UNIT=acme-api.service"); !ok {
			t.Fatal(output)
		}
		for name, want := range map[string]string{
			"units/" + tc.mount:             "Where=" + tc.dir + "\nAfter=" + tc.mount + " acme-api.service\n",
			"acme-api.service.d/65535.conf": "6553565535 a@b.service\n",
			"sysusers":                      "u gin-edge 999 -\n",
			"program":                       "#!/bin/sh\ncd " + tc.dir + "/x\n",
		} {
			text, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != want {
				t.Errorf("%s: %q, want %q", name, text, want)
			}
		}
		if info, err := os.Stat(folder + "/program"); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("mode of program: %v, %v", info.Mode(), err)
		}
	}
}

// A value that cannot be stops the build before a file is touched, and is named
// with what to set.
func TestFillRefuses(t *testing.T) {
	for _, setting := range []string{
		"GIN_EDGE_DATA_DIR=", "GIN_EDGE_DATA_DIR=data", "GIN_EDGE_DATA_DIR=/", "GIN_EDGE_DATA_DIR=/data/", "GIN_EDGE_DATA_DIR=/a//b",
		"GIN_EDGE_DATA_DIR=/a/../b", "GIN_EDGE_DATA_DIR=/a/./b", "GIN_EDGE_DATA_DIR=/a/..", "GIN_EDGE_DATA_DIR=/.a", "GIN_EDGE_DATA_DIR=/my data",
		"GIN_EDGE_DATA_DIR=/my-data", "GIN_EDGE_DATA_DIR=/a|b", "GIN_EDGE_DATA_DIR=/home", "GIN_EDGE_DATA_DIR=/run/data", "GIN_EDGE_DATA_DIR=/var/tmp/data",
		"GIN_EDGE_PORT=", "GIN_EDGE_PORT=0", "GIN_EDGE_PORT=65536", "GIN_EDGE_PORT=70000", "GIN_EDGE_PORT=080", "GIN_EDGE_PORT=-1", "GIN_EDGE_PORT=http",
		"GIN_EDGE_PORT=80 81", "GIN_EDGE_PORT=99999999999999999999",
		"GIN_EDGE_UID=", "GIN_EDGE_UID=0", "GIN_EDGE_UID=1000", "GIN_EDGE_UID=-", "GIN_EDGE_UID=-1", "GIN_EDGE_UID=0660", "GIN_EDGE_UID=6 6",
		"GIN_EDGE_UNIT=", "GIN_EDGE_UNIT=gin-edged", "GIN_EDGE_UNIT=.service", "GIN_EDGE_UNIT=a.socket", "GIN_EDGE_UNIT=a@b.service",
		"GIN_EDGE_UNIT=a.service b.service", "GIN_EDGE_UNIT=a/b.service", "GIN_EDGE_UNIT=-a.service",
	} {
		folder := t.TempDir()
		write(t, folder+"/file", "@GIN_EDGE_PORT@", 0o644)
		output, ok := run(t, folder, setting)
		name, value, _ := strings.Cut(setting, "=")
		if value == "" {
			value = "is empty"
		}
		if ok || !strings.HasPrefix(output, name+" ") || !strings.Contains(output, value) || !strings.Contains(output, "set it") || strings.Count(output, "\n") != 1 {
			t.Errorf("%s: accepted: %t, it says %q", setting, ok, output)
		}
		if text, err := os.ReadFile(folder + "/file"); err != nil || string(text) != "@GIN_EDGE_PORT@" {
			t.Errorf("%s: the file holds %q, %v", setting, text, err)
		}
	}
}

// What nobody fills in would be on the device as it stands.
func TestFillMisspelt(t *testing.T) {
	for _, name := range []string{"file", "@GIN_EDGE_PROT@"} {
		folder := t.TempDir()
		write(t, folder+"/"+name, "a\nListenStream=@GIN_EDGE_PROT@\n", 0o644)
		if output, ok := run(t, folder); ok || !strings.Contains(output, folder+"/"+name+":2:@GIN_EDGE_PROT@") {
			t.Errorf("%s: accepted: %t, it says %q", name, ok, output)
		}
	}
}
