package blackbox

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Events is the answer of /api/v1/events.
type Events struct {
	Events     []Event
	NextCursor string `json:"next_cursor"`
	Reset      bool
}

// Event is one of them.
type Event struct {
	Seq           uint64
	BootID        string  `json:"boot_id"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	Kind          string
	Message       string
	Stored        bool
}

func events(t *testing.T, query string) Events {
	t.Helper()
	response := get(t, "/api/v1/events"+query)
	if response.Status != http.StatusOK {
		t.Fatalf("status %d: %s", response.Status, response.Body)
	}
	return decode[Events](t, response.Body)
}

func TestEvents(t *testing.T) {
	// The first requests are answered a little before the start is recorded.
	eventually(t, 30*time.Second, "the start", func() bool {
		return slices.ContainsFunc(events(t, "").Events, func(e Event) bool { return e.Kind == "service_start" })
	})
	all := events(t, "?cursor=0&limit=1000")
	boot := decode[struct {
		BootID string `json:"boot_id"`
	}](t, get(t, "/api/v1/system/status").Body).BootID
	boots, starts := 0, 0
	for i, event := range all.Events {
		if i > 0 && event.Seq <= all.Events[i-1].Seq {
			t.Errorf("event %d follows %d", event.Seq, all.Events[i-1].Seq)
		}
		switch {
		case event.BootID != boot:
		case event.Kind == "boot":
			boots++
		case event.Kind == "service_start":
			starts++
		}
	}
	// A device that runs for long has dropped the oldest.
	if target.kind != "address" && (boots != 1 || starts == 0) {
		t.Errorf("%d boots and %d starts of this boot in %+v", boots, starts, all.Events)
	}

	one := events(t, "?limit=1")
	if len(one.Events) != 1 || one.Events[0].Seq < all.Events[len(all.Events)-1].Seq {
		t.Errorf("the newest event is %+v", one.Events)
	}
	if next := events(t, "?cursor="+one.NextCursor); next.Reset || len(next.Events) > 0 && next.Events[0].Seq <= one.Events[0].Seq {
		t.Errorf("%+v follows %d", next, one.Events[0].Seq)
	}
	// A cursor of another log, and one of a release whose cursors named none.
	for _, cursor := range []string{"0123456789abcdef-2", "2"} {
		if lost := events(t, "?limit=1&cursor="+cursor); !lost.Reset || len(lost.Events) != 1 || lost.Events[0].Seq != all.Events[0].Seq {
			t.Errorf("cursor %s: %+v", cursor, lost)
		}
	}
	for query, want := range map[string]string{"?limit=0": "limit", "?cursor=x": "cursor", "?crusor=1": "crusor"} {
		if problem := wantProblem(t, get(t, "/api/v1/events"+query), http.StatusBadRequest); !strings.Contains(problem.Detail, want) {
			t.Errorf("%s: %q does not name the parameter", query, problem.Detail)
		}
	}
}

func TestReloadsAreEvents(t *testing.T) {
	c := needControl(t)
	cursor := events(t, "").NextCursor
	configure(t, limitConfig(131))
	path := c.writeConfig(t, "[server]\nmax_bdoy_bytes = 1\n")
	reload(t, c)
	var after []Event
	eventually(t, 30*time.Second, "two events", func() bool {
		after = slices.DeleteFunc(events(t, "?cursor="+cursor).Events, func(e Event) bool { return e.Kind != "config_reload" })
		return len(after) == 2
	})
	if !strings.Contains(after[1].Message, label(path)+":2: key server.max_bdoy_bytes") {
		t.Errorf("events %+v", after)
	}
}

func TestStatusOfResetAndData(t *testing.T) {
	type figures struct {
		LastReset struct{ Cause string } `json:"last_reset"`
		Data      struct {
			Path, State string
			TotalBytes  uint64 `json:"total_bytes"`
			FreeBytes   uint64 `json:"free_bytes"`
		}
	}
	now := decode[figures](t, get(t, "/api/v1/system/status").Body)
	if now.LastReset.Cause == "" {
		t.Error("no cause of the last reset")
	}
	switch d := now.Data; d.State {
	case "none":
		if d.Path != "" {
			t.Errorf("data %+v", d)
		}
	case "ok":
		if d.Path == "" || d.FreeBytes == 0 || d.TotalBytes < d.FreeBytes {
			t.Errorf("data %+v", d)
		}
	default:
		if target.kind != "address" {
			t.Errorf("data %+v", d)
		}
	}
}

// Where a data partition is expected and none is mounted, the service works
// and says so.
func TestMissingDataPartition(t *testing.T) {
	configure(t, "[storage]\ndata = \"/no/such/mount\"\n")
	response := get(t, "/readyz")
	if response.Status != http.StatusOK || string(response.Body) != `{"status":"degraded"}` {
		t.Errorf("/readyz: %d %s", response.Status, response.Body)
	}
	for _, check := range status(t).Health.Checks {
		if !ourCheck(check.Name) {
			continue
		}
		if bad := check.Name == "data"; bad == check.OK || bad != check.Degraded || bad && !strings.Contains(check.Detail, "/no/such/mount: missing") {
			t.Errorf("check %+v", check)
		}
	}
	if response := get(t, "/livez"); response.Status != http.StatusOK {
		t.Errorf("/livez: %d", response.Status)
	}
}
