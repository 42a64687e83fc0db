package layer

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const dataScript = "../../meta-gin-edge/recipes-gin-edge/gin-edge-data/files/gin-edge-data"

// moveEvents runs that function of the script on a folder of the service.
func moveEvents(t *testing.T, folder string) {
	t.Helper()
	script, err := os.ReadFile(dataScript)
	if err != nil {
		t.Fatal(err)
	}
	_, function, ok := strings.Cut(string(script), "\nmove_events() {")
	function, _, end := strings.Cut(function, "\n}\n")
	if !ok || !end {
		t.Fatalf("%s has no function move_events", dataScript)
	}
	if out, err := exec.Command("sh", "-euc", "move_events() {"+function+"\n}\nmove_events \"$1\"", "sh", folder).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// The events of a device whose release kept them beside the configuration move to
// where the service may write; nothing else moves.
func TestEventsMove(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "gin-edge")
	moveEvents(t, folder) // there is none
	elsewhere := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(folder, "gin-edged.toml"), "x")
	moveEvents(t, folder)
	write(filepath.Join(folder, "events/events"), "old")
	// What a service that was taken over can leave there leads nowhere.
	if err := os.Symlink(elsewhere, filepath.Join(folder, "state")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		moveEvents(t, folder)
		if text, err := os.ReadFile(filepath.Join(folder, "state/events/events")); err != nil || string(text) != "old" {
			t.Errorf("%q, %v", text, err)
		}
	}
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) > 0 {
		t.Errorf("%v was made elsewhere, %v", entries, err)
	}
	if _, err := os.Stat(filepath.Join(folder, "gin-edged.toml")); err != nil {
		t.Error(err)
	}
	// Those of now are not replaced.
	write(filepath.Join(folder, "events/events"), "older")
	moveEvents(t, folder)
	if text, err := os.ReadFile(filepath.Join(folder, "state/events/events")); err != nil || string(text) != "old" {
		t.Errorf("%q, %v", text, err)
	}
}
