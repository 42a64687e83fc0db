package vm

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serveQMP answers like QEMU: a greeting, then for each line what script says.
func serveQMP(t *testing.T, greeting string, script func(line string) string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qmp.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintln(conn, greeting)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			fmt.Fprintln(conn, script(lines.Text()))
		}
	}()
	return path
}

func TestQMP(t *testing.T) {
	const greeting = `{"QMP": {"version": {}, "capabilities": []}}`
	q, err := DialQMP(serveQMP(t, greeting, func(line string) string {
		switch {
		case strings.Contains(line, "qmp_capabilities"):
			return `{"return": {}}`
		case line == `{"arguments":{"device":"x"},"execute":"get"}`:
			// Events come at any time, also before an answer.
			return `{"event": "RESET", "data": {"guest": true}, "timestamp": {"seconds": 3, "microseconds": 500000}}
{"event": "WATCHDOG", "data": {"action": "reset"}, "timestamp": {"seconds": 4, "microseconds": 0}}
{"return": {"size": 7}}`
		}
		return `{"error": {"class": "CommandNotFound", "desc": "The command nope has not been found"}}`
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var result struct{ Size int }
	if err := q.Execute("get", map[string]string{"device": "x"}, &result); err != nil || result.Size != 7 {
		t.Errorf("got %+v, %v", result, err)
	}
	if err := q.Execute("nope", nil, nil); err == nil || !strings.Contains(err.Error(), "CommandNotFound") {
		t.Errorf("an error of QEMU became %v", err)
	}
	event, err := q.Wait(10*time.Second, "SHUTDOWN", "WATCHDOG")
	if err != nil || event.Name != "WATCHDOG" || string(event.Data) != `{"action": "reset"}` || event.Time().Unix() != 4 {
		t.Errorf("got %+v, %v", event, err)
	}
	// RESET was before it, and is gone.
	if event, err := q.Wait(10*time.Millisecond, "RESET"); err == nil {
		t.Errorf("got %+v again", event)
	}
}

func TestQMPEnds(t *testing.T) {
	if _, err := DialQMP(serveQMP(t, `{"return": {}}`, func(string) string { return "" })); err == nil {
		t.Error("an answer was taken for the greeting")
	}
	q, err := DialQMP(serveQMP(t, `{"QMP": {}}`, func(line string) string {
		if strings.Contains(line, "qmp_capabilities") {
			return `{"return": {}}`
		}
		return "no JSON"
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := q.Execute("quit", nil, nil); err == nil {
		t.Error("a connection that ended is a success")
	}
	if _, err := q.Wait(10*time.Second, "RESET"); err == nil || strings.Contains(err.Error(), "within") {
		t.Errorf("waited for an event on a connection that had ended: %v", err)
	}
}
