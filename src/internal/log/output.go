package log

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"
)

const (
	journalSocket = "/run/systemd/journal/socket"

	// sendTimeout is how often a sender that waits for the journal looks
	// whether it should give up.
	sendTimeout = 250 * time.Millisecond

	// Without it the journal shows the name of the executable, which a
	// debugger or a wrapper changes.
	identifier = "gin-edged"
)

// journalOutput writes datagrams in the journal's native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
//
// journal.Send is not used: its socket is not connected, and then a sender that
// waits because other processes have filled the journal's queue is not woken
// when there is room again, and it has no deadline.
type journalOutput struct {
	socket   string
	fallback io.Writer
	conn     *net.UnixConn
	datagram []byte
}

func (j *journalOutput) write(r *Record) error {
	j.datagram = appendRecord(j.datagram[:0], r)
	err := j.send()
	if err != nil && !os.IsTimeout(err) {
		// The socket is a new one after a restart of its unit.
		j.close()
		err = j.send()
	}
	if err != nil && !os.IsTimeout(err) {
		// The journal's stream still takes the line, or keeps it until it can.
		_, err = io.WriteString(j.fallback, fallbackLine(r))
	}
	return err
}

// fallbackLine is the record as one line with its priority. A record of more lines
// would forge others, each with a priority of its own.
func fallbackLine(r *Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>%s", priority(r.Level), oneLine(r.Message))
	for _, f := range r.Fields {
		b.WriteString(" " + oneLine(f.Key) + "=" + oneLine(f.Value))
	}
	b.WriteByte('\n')
	return b.String()
}

// oneLine quotes a text that has control characters, as Go does.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	return strconv.Quote(s)
}

func (j *journalOutput) send() error {
	if j.conn == nil {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.socket, Net: "unixgram"})
		if err != nil {
			return err
		}
		j.conn = conn
	}
	if err := j.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err := j.conn.Write(j.datagram)
	return err
}

func (j *journalOutput) close() {
	if j.conn != nil {
		_ = j.conn.Close()
		j.conn = nil
	}
}

// appendRecord appends the record as a datagram. The journal adds the unit and
// the process by itself.
func appendRecord(b []byte, r *Record) []byte {
	b = appendField(b, "PRIORITY", strconv.Itoa(int(priority(r.Level))))
	b = appendField(b, "SYSLOG_IDENTIFIER", identifier)
	b = appendField(b, "MESSAGE", r.Message)
	for _, f := range r.Fields {
		b = appendField(b, fieldName(f.Key), f.Value)
	}
	// The journal's own time is that of the arrival.
	if time.Since(r.Time) > time.Second {
		b = appendField(b, "GIN_EDGE_TIME", r.Time.UTC().Format(time.RFC3339Nano))
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if strings.Contains(value, "\n") {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	b = append(b, value...)
	return append(b, '\n')
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

// textOutput writes logrus' text.
type textOutput struct {
	w         io.Writer
	formatter logrus.TextFormatter
}

func newTextOutput(w io.Writer) *textOutput {
	return &textOutput{w: w, formatter: logrus.TextFormatter{DisableColors: true, FullTimestamp: true}}
}

func (t *textOutput) write(r *Record) error {
	data := make(logrus.Fields, len(r.Fields))
	for _, f := range r.Fields {
		data[f.Key] = f.Value
	}
	line, err := t.formatter.Format(&logrus.Entry{Data: data, Time: r.Time, Level: r.Level, Message: r.Message})
	if err == nil {
		_, err = t.w.Write(line)
	}
	return err
}

func (*textOutput) close() {}
