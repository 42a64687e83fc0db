// Package log writes logrus records to the journal in its native protocol, so
// that every field can be searched for, or as text to stderr.
package log

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"
)

// Critical is the level for a state that needs a person or ends the process:
// the journal's PRIORITY 2. Entry.Log with it does not exit, unlike
// Entry.Fatal.
const Critical = logrus.FatalLevel

// New returns a logger at level info: to the journal when systemd connected
// stderr to it (JOURNAL_STREAM), else text on stderr. native tells which.
func New() (logger *logrus.Logger, native bool) {
	if ok, err := journal.StderrIsJournalStream(); ok && err == nil && journal.Enabled() {
		return newJournal(journal.Send, os.Stderr), true
	}
	return NewText(os.Stderr), false
}

// NewText returns a logger at level info that writes text to w.
func NewText(w io.Writer) *logrus.Logger {
	l := logrus.New()
	l.SetOutput(w)
	l.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	return l
}

type sendFunc func(message string, priority journal.Priority, vars map[string]string) error

func newJournal(send sendFunc, fallback io.Writer) *logrus.Logger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetFormatter(noText{})
	l.AddHook(journalHook{send, fallback})
	return l
}

// noText keeps logrus from rendering text that nobody reads.
type noText struct{}

func (noText) Format(*logrus.Entry) ([]byte, error) { return nil, nil }

type journalHook struct {
	send     sendFunc
	fallback io.Writer
}

func (journalHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h journalHook) Fire(e *logrus.Entry) error {
	vars := make(map[string]string, len(e.Data)+1)
	for k, v := range e.Data {
		vars[fieldName(k)] = fmt.Sprint(v)
	}
	// Without it the journal shows the name of the executable, which a
	// debugger or a wrapper changes.
	vars["SYSLOG_IDENTIFIER"] = "gin-edged"
	if err := h.send(e.Message, priority(e.Level), vars); err != nil {
		// journald is restarting or its socket is full. Its stream still takes
		// the line, or keeps it until it can.
		_, err = fmt.Fprintf(h.fallback, "<%d>%s %v\n", priority(e.Level), e.Message, e.Data)
		return err
	}
	return nil
}

// fieldName maps a logrus key to a journal field. Journal fields are upper
// case letters, digits and underscores; the prefix keeps ours apart from those
// that mean something to the journal itself.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key)
	switch name {
	case "REQUEST_ID", "TRACE_ID", "ROUTE":
		return name
	}
	return "GIN_EDGE_" + name
}

func priority(level logrus.Level) journal.Priority {
	switch level {
	case logrus.PanicLevel, logrus.FatalLevel:
		return journal.PriCrit
	case logrus.ErrorLevel:
		return journal.PriErr
	case logrus.WarnLevel:
		return journal.PriWarning
	case logrus.InfoLevel:
		return journal.PriInfo
	}
	return journal.PriDebug
}

// Lines returns a writer for a standard library logger: each write becomes one
// record of the level.
func Lines(l *logrus.Logger, level logrus.Level) io.Writer { return lineWriter{l, level} }

type lineWriter struct {
	log   *logrus.Logger
	level logrus.Level
}

func (w lineWriter) Write(p []byte) (int, error) {
	w.log.Log(w.level, strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
