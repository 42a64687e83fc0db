package guest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// client makes a connection of its own for each request: a guest that was
// reset does not know the old ones.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Status is the part of /api/v1/system/status that tests look into.
type Status struct {
	BootID        string  `json:"boot_id"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	Service       struct{ PID int }
	Data          *struct{ State string } // nil where the service does not tell
	LastReset     struct{ Cause string }  `json:"last_reset"`
	Connections   struct{ Limit int }
	Health        Report
}

// Report is a report of health.
type Report struct {
	Status string
	Checks []struct {
		Name   string
		OK     bool
		Detail string
	}
}

// Get asks and decodes the answer into result, unless that is nil.
func (m *Machine) Get(path string, limit time.Duration, result any) (int, error) {
	asking := *client
	asking.Timeout = limit
	answer, err := asking.Get(m.Guest.URL + path)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && result != nil && answer.StatusCode < 400 {
		err = json.Unmarshal(body, result)
	}
	if err != nil {
		return 0, fmt.Errorf("GET %s: %w", path, err)
	}
	return answer.StatusCode, nil
}

// Status asks for it.
func (m *Machine) Status(t *testing.T) Status {
	t.Helper()
	var s Status
	if code, err := m.Get("/api/v1/system/status", time.Minute, &s); err != nil || code != http.StatusOK {
		t.Fatalf("/api/v1/system/status: %d, %v", code, err)
	}
	return s
}

// Loopback asks from inside the guest and returns what of the answer matches the
// basic regular expression: a long line rarely comes over the serial line whole.
// "" when nothing answers.
func (m *Machine) Loopback(t *testing.T, path, pattern string) string {
	t.Helper()
	ask := "wget -q -T 10 -O - http://127.0.0.1" + path
	if _, status := m.Try(t, "command -v wget"); status != 0 {
		ask = `bash -c "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET ` + path + ` HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; cat <&3"`
	}
	answer, _ := m.Try(t, ask+" | grep -o '"+pattern+"'")
	return answer
}

// Wait200 asks until /livez answers 200, and returns when that was.
func (m *Machine) Wait200(t *testing.T, limit time.Duration) time.Time {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		// A request to a guest that is being reset is never answered.
		if code, err := m.Get("/livez", 2*time.Second, nil); err == nil && code == http.StatusOK {
			return time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatalf("no 200 from /livez within %v; see %s", limit, m.Guest.SerialLog)
		}
	}
}

// WantHealthy checks what every fault must leave behind: no failed unit and no
// cycle in their order. It waits until the boot is over.
func (m *Machine) WantHealthy(t *testing.T) {
	t.Helper()
	if state, _ := m.Try(t, "systemctl is-system-running --wait"); state != "running" {
		t.Errorf("the system is %s; failed units:\n%s", state, m.Run(t, "systemctl --failed --no-legend --plain --no-pager"))
	}
	if cycles, _ := m.Try(t, "journalctl -b -q --no-pager -o cat | grep -ai 'ordering cycle'"); cycles != "" {
		t.Errorf("ordering cycles:\n%s", cycles)
	}
}
