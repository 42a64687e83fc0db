package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// qmpTimeout is for one command. QEMU answers at once, unless the machine has
// no time for it.
const qmpTimeout = time.Minute

// Event is what QEMU tells by itself, such as RESET, SHUTDOWN or WATCHDOG.
type Event struct {
	Name      string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp struct{ Seconds, Microseconds int64 }
}

// Time is the host's clock when it happened.
func (e Event) Time() time.Time {
	return time.Unix(e.Timestamp.Seconds, e.Timestamp.Microseconds*1000)
}

// QMP is a connection to QEMU's machine protocol. QEMU serves one at a time.
type QMP struct {
	conn    net.Conn
	command sync.Mutex // one command at a time
	answers chan message

	mu     sync.Mutex
	events []Event
	err    error
	more   chan struct{} // has a value when events or err has changed
}

// message is anything that QEMU sends after its greeting.
type message struct {
	Event
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// DialQMP connects to the unix socket and takes QEMU out of the mode in which
// it only negotiates.
func DialQMP(path string) (*QMP, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(conn)
	var greeting struct {
		QMP *json.RawMessage `json:"QMP"`
	}
	_ = conn.SetReadDeadline(time.Now().Add(qmpTimeout))
	err = decoder.Decode(&greeting)
	_ = conn.SetReadDeadline(time.Time{})
	if err == nil && greeting.QMP == nil {
		err = errors.New("no greeting")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("QMP: %s: %w", path, err), conn.Close())
	}
	q := &QMP{conn: conn, answers: make(chan message, 1), more: make(chan struct{}, 1)}
	go q.read(decoder)
	if err := q.Execute("qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return q, nil
}

// Close disconnects; the guest goes on.
func (q *QMP) Close() error { return q.conn.Close() }

func (q *QMP) read(decoder *json.Decoder) {
	defer close(q.answers)
	for {
		var m message
		err := decoder.Decode(&m)
		if err == nil && m.Name == "" {
			q.answers <- m
			continue
		}
		q.mu.Lock()
		if err == nil {
			q.events = append(q.events, m.Event)
		}
		q.err = err
		q.mu.Unlock()
		select {
		case q.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// Execute runs a command. arguments may be nil; result, unless nil, takes what
// the command returns.
func (q *QMP) Execute(command string, arguments, result any) error {
	q.command.Lock()
	defer q.command.Unlock()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	if _, err := q.conn.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	limit := time.NewTimer(qmpTimeout)
	defer limit.Stop()
	select {
	case answer, ok := <-q.answers:
		switch {
		case !ok:
			return fmt.Errorf("QMP %s: QEMU has closed the connection", command)
		case answer.Error != nil:
			return fmt.Errorf("QMP %s: %s: %s", command, answer.Error.Class, answer.Error.Desc)
		case result != nil:
			if err := json.Unmarshal(answer.Return, result); err != nil {
				return fmt.Errorf("QMP %s: %w", command, err)
			}
		}
		return nil
	case <-limit.C:
		// Its answer would be taken for that of the next command.
		_ = q.conn.Close()
		return fmt.Errorf("QMP %s: no answer within %v", command, qmpTimeout)
	}
}

// Forget drops the events that have come in so far.
func (q *QMP) Forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = nil
}

// Wait returns the first event with one of the names and drops it together
// with those before it.
func (q *QMP) Wait(limit time.Duration, names ...string) (Event, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		q.mu.Lock()
		i := slices.IndexFunc(q.events, func(e Event) bool { return slices.Contains(names, e.Name) })
		if i >= 0 {
			found := q.events[i]
			q.events = q.events[i+1:]
			q.mu.Unlock()
			return found, nil
		}
		err := q.err
		q.mu.Unlock()
		if err != nil {
			return Event{}, fmt.Errorf("QMP: while waiting for %v: %w", names, err)
		}
		select {
		case <-q.more:
		case <-deadline.C:
			return Event{}, fmt.Errorf("QMP: none of %v within %v", names, limit)
		}
	}
}
