package vm

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, heard string
		want        parsed
	}{
		{"nothing yet", "# v m 'true'\r\n", parsed{}},
		{"end line not complete", "m:end:0:0", parsed{}},
		{"no output", "m:end:0:3\r\n", parsed{complete: true, status: 3}},
		{"echo, prompt and message around", "# v m 'x'\r\n[  1.5] link up\r\n# m:0:2|ab\r\n[  2.0] m\r\nm:1:0|\r\nm:end:2:0\r\n",
			parsed{complete: true, lines: []string{"ab", ""}}},
		{"bar in the text", "m:0:3|a|b\nm:end:1:0\n", parsed{complete: true, lines: []string{"a|b"}}},
		{"message within a line", "m:0:4|ab[  1.5] link up\r\ncd\r\nm:end:1:0\r\n", parsed{}},
		{"line lost", "m:1:2|cd\r\nm:end:2:0\r\n", parsed{}},
		{"message within the end line", "m:end:0:[  1.5] link up\r\n0\r\n", parsed{}},
	} {
		got := parse([]byte(c.heard), "m")
		if got.complete != c.want.complete || got.complete &&
			(got.status != c.want.status || strings.Join(got.lines, "\n") != strings.Join(c.want.lines, "\n")) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
		if got.complete && got.used != len(c.heard) {
			t.Errorf("%s: %d bytes used of %d", c.name, got.used, len(c.heard))
		}
	}
}

// A line that was broken by a message is asked for again, without running the
// command a second time.
func TestRunAsksAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	sent := make(chan string, 2)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for _, answer := range []string{"M:0:5|he[ 1.0] oops\nllo\nM:end:1:7\n", "M:0:5|hello\nM:end:1:7\n"} {
			buffer := make([]byte, 4096)
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			line := string(buffer[:n])
			sent <- line
			mark := strings.TrimSpace(strings.Fields(line)[1])
			_, _ = conn.Write([]byte(strings.ReplaceAll(answer, "M", mark)))
		}
	}()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	output, status, err := c.Run("echo 'hello'", 10*time.Second)
	if err != nil || output != "hello" || status != 7 {
		t.Fatalf("got %q, %d, %v", output, status, err)
	}
	if first := <-sent; !strings.HasSuffix(first, ` 'echo '\''hello'\'''`+"\n") {
		t.Errorf("sent %q", first)
	}
	if second := <-sent; !strings.HasPrefix(second, "p ") {
		t.Errorf("sent %q, not a question for the output alone", second)
	}
}
