package gateway

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/edgetest"
)

// board is a /sys with one sensor and one LED.
func board(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	set(t, root, "class/hwmon/hwmon0/name", "cpu_thermal\n")
	set(t, root, "class/hwmon/hwmon0/temp1_input", "48312\n")
	set(t, root, "class/leds/status:green/trigger", "[none] timer heartbeat default-on\n")
	return root
}

func set(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func on(root string) func() edge.Extension {
	return func() edge.Extension { return extension(&gateway{root: root, settings: defaults()}) }
}

func TestContract(t *testing.T) {
	for name, root := range map[string]string{"on a board": board(t), "where there is nothing": t.TempDir()} {
		t.Run(name, func(t *testing.T) { edgetest.Run(t, on(root)) })
	}
}

// within waits for a condition.
func within(t *testing.T, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func get(t *testing.T, s *edgetest.Service, path string, body any) {
	t.Helper()
	response, err := s.Client.Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(body); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", path, response.StatusCode, err)
	}
}

func TestReadingsAndLED(t *testing.T) {
	root := board(t)
	const quick = "[x.gateway]\ninterval = \"1s\"\nhistory = 2\nhot = 60\nled = \"status:green\"\n"
	s := edgetest.Start(t, quick, on(root)())
	trigger := func() string {
		data, _ := os.ReadFile(filepath.Join(root, "class/leds/status:green/trigger"))
		return string(data)
	}
	within(t, 5*time.Second, "the LED beats", func() bool { return strings.HasPrefix(trigger(), "heartbeat") })
	var now struct{ Last reading }
	get(t, s, "/api/v1/x/gateway/sensors", &now)
	if all := now.Last.Sensors; len(all) != 1 || all[0].Name != "cpu_thermal/temp1" || all[0].Celsius != 48.312 {
		t.Errorf("%+v", now)
	}

	// The kernel writes the whole list anew; a file does not.
	set(t, root, "class/leds/status:green/trigger", "none timer [heartbeat] default-on\n")
	set(t, root, "class/hwmon/hwmon0/temp1_input", "61000\n")
	within(t, 5*time.Second, "the LED warns", func() bool { return strings.HasPrefix(trigger(), "timer") })
	var log struct {
		Events []struct{ Kind, Message string }
	}
	get(t, s, "/api/v1/events", &log)
	if last := log.Events[len(log.Events)-1]; last.Kind != "gateway_temperature" || last.Message != "cpu_thermal/temp1 is at 61.0 °C, hot from 60 °C" {
		t.Errorf("event %+v", last)
	}
	within(t, 5*time.Second, "two readings are kept", func() bool {
		var past struct{ Readings []reading }
		get(t, s, "/api/v1/x/gateway/history", &past)
		return len(past.Readings) == 2 && past.Readings[1].Sensors[0].Celsius == 61
	})
	for text, want := range map[string]string{
		"led = \"../x\"":                       `key x.gateway.led: "../x" is not the name of an LED`,
		"history = 10000\ninterval = \"10m\"":  "key x.gateway.history: 10000 readings, one each 10m, are more than a week",
		"histroy = 5":                          "key x.gateway.histroy: unknown key; did you mean x.gateway.history?",
		"interval = \"1s\"\nhot = \"sixty\"\n": "key x.gateway.hot: must be an integer, not a string",
	} {
		if err := s.Reload("[x.gateway]\n" + text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}
