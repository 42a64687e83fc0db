package log

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"
)

func TestJournalRecord(t *testing.T) {
	var message string
	var prio journal.Priority
	var vars map[string]string
	l := newJournal(func(m string, p journal.Priority, v map[string]string) error {
		message, prio, vars = m, p, v
		return nil
	}, io.Discard)
	l.WithFields(logrus.Fields{"request_id": "r", "trace_id": "t", "route": "/livez", "generation": 3, "odd key!": "x"}).
		WithError(errors.New("why")).Log(Critical, "hello")
	want := map[string]string{
		"REQUEST_ID": "r", "TRACE_ID": "t", "ROUTE": "/livez", "GIN_EDGE_GENERATION": "3",
		"GIN_EDGE_ODD_KEY_": "x", "GIN_EDGE_ERROR": "why", "SYSLOG_IDENTIFIER": "gin-edged",
	}
	if message != "hello" || prio != journal.PriCrit || !reflect.DeepEqual(vars, want) {
		t.Errorf("got %q %d %v", message, prio, vars)
	}
}

func TestPriorities(t *testing.T) {
	want := map[logrus.Level]journal.Priority{
		logrus.PanicLevel: 2, logrus.FatalLevel: 2, logrus.ErrorLevel: 3, logrus.WarnLevel: 4,
		logrus.InfoLevel: 6, logrus.DebugLevel: 7, logrus.TraceLevel: 7,
	}
	for level, p := range want {
		if got := priority(level); got != p {
			t.Errorf("%v: %d, want %d", level, got, p)
		}
	}
}

func TestJournalFallsBackToStderr(t *testing.T) {
	var out bytes.Buffer
	l := newJournal(func(string, journal.Priority, map[string]string) error { return errors.New("gone") }, &out)
	l.Error("kept")
	if got := out.String(); !strings.HasPrefix(got, "<3>kept") {
		t.Errorf("got %q", got)
	}
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	l := NewText(&out)
	if _, err := Lines(l, logrus.DebugLevel).Write([]byte("hidden\n")); err != nil || out.Len() != 0 {
		t.Errorf("below the level: %q, %v", out.String(), err)
	}
	if _, err := Lines(l, logrus.WarnLevel).Write([]byte("shown\n")); err != nil || !strings.Contains(out.String(), "msg=shown") {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
