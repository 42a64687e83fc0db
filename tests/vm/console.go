package vm

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrNoLogin says that nobody on the serial line lets root in.
var ErrNoLogin = errors.New("no login on the serial line")

// helper defines two shell functions in the guest. v runs a command and keeps
// its output; p prints it line by line, each with a number and its length, so
// that a line into which the kernel wrote is noticed and asked for again. It
// takes nothing but a POSIX shell.
const helper = `export LC_ALL=C TERM=dumb; ` +
	`p() { n=0; while IFS= read -r l || [ -n "$l" ]; do printf '%s:%d:%d|%s\n' "$1" $n ${#l} "$l"; n=$((n+1)); done </run/vm.out; printf '%s:end:%d:%d\n' "$1" $n $s; }; ` +
	`v() { (eval "$2") >/run/vm.out 2>&1 </dev/null; s=$?; p "$1"; }`

// Console drives a root shell on the guest's serial line. Kernel messages, the
// shell's echo and its prompt may stand between and within the lines.
type Console struct {
	conn net.Conn

	mu      sync.Mutex
	pending []byte
	err     error
	more    chan struct{} // has a value when pending or err has changed
}

// Dial connects to the unix socket of a serial line.
func Dial(path string) (*Console, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	c := &Console{conn: conn, more: make(chan struct{}, 1)}
	go c.read()
	return c, nil
}

// Close disconnects. The guest's shell stays logged in.
func (c *Console) Close() error { return c.conn.Close() }

func (c *Console) read() {
	buffer := make([]byte, 4096)
	for {
		n, err := c.conn.Read(buffer)
		c.mu.Lock()
		c.pending = append(c.pending, buffer[:n]...)
		c.err = err
		c.mu.Unlock()
		select {
		case c.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// wait calls found with what has arrived until it is content, and then drops
// the number of bytes that found returns.
func (c *Console) wait(limit time.Duration, found func([]byte) int) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		used := found(c.pending)
		c.pending = c.pending[max(used, 0):]
		err, tail := c.err, c.pending
		c.mu.Unlock()
		if used > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serial line: %w", err)
		}
		select {
		case <-c.more:
		case <-deadline.C:
			return fmt.Errorf("serial line: no answer within %v; last heard: %q", limit, tail[max(0, len(tail)-400):])
		}
	}
}

func (c *Console) send(line string) error {
	_, err := c.conn.Write([]byte(line + "\n"))
	return err
}

func newMark() string {
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails
	return "vm" + hex.EncodeToString(random[:])
}

// Login waits for a shell, and logs root in without a password where asked.
func (c *Console) Login(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		mark := newMark()
		// The mark in two parts: the echo of the question is no answer. To a
		// login prompt the question is an unknown user; it will ask again.
		if err := c.send("echo " + mark[:6] + "''" + mark[6:]); err != nil {
			return err
		}
		asked := false
		err := c.wait(min(15*time.Second, time.Until(deadline)), func(heard []byte) int {
			if i := bytes.Index(heard, []byte(mark)); i >= 0 {
				return i + len(mark)
			}
			if i := bytes.LastIndex(heard, []byte("login: ")); i >= 0 && i+len("login: ") == len(heard) {
				asked = true
				return len(heard)
			}
			return -1
		})
		switch {
		case err != nil && c.broken():
			return err
		case err != nil:
			continue
		case asked:
			if err := c.send("root"); err != nil {
				return err
			}
			// Give the shell time to start; what is typed at login's own time
			// would be taken for a password.
			time.Sleep(3 * time.Second)
			continue
		}
		// Messages of the kernel go on to the log; here they are in the way.
		if err := c.send("dmesg -n 1; " + helper); err != nil {
			return err
		}
		if _, status, err := c.Run("true", 30*time.Second); err != nil || status != 0 {
			continue
		}
		return nil
	}
	return ErrNoLogin
}

func (c *Console) broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// Run executes a command line in the guest's shell and returns what it wrote
// to both outputs and its exit status.
func (c *Console) Run(command string, limit time.Duration) (output string, status int, err error) {
	mark := newMark()
	line := fmt.Sprintf("v %s '%s'", mark, strings.ReplaceAll(command, "'", `'\''`))
	// busybox drops what is longer.
	if len(line) > 1000 {
		return "", 0, fmt.Errorf("command of %d bytes is too long for a serial line", len(command))
	}
	for range 5 {
		if err := c.send(line); err != nil {
			return "", 0, err
		}
		var result parsed
		if err := c.wait(limit, func(heard []byte) int {
			result = parse(heard, mark)
			return result.used
		}); err != nil {
			return "", 0, fmt.Errorf("%s: %w", command, err)
		}
		if result.complete {
			return strings.Join(result.lines, "\n"), result.status, nil
		}
		// Only the output again: the command has run.
		mark = newMark()
		line = "p " + mark
		limit = 60 * time.Second
	}
	return "", 0, fmt.Errorf("%s: its output was mixed with other text five times", command)
}

type parsed struct {
	used     int // bytes up to and with the end line; 0 without one
	complete bool
	lines    []string
	status   int
}

// parse looks for the lines that p prints with mark.
func parse(heard []byte, mark string) parsed {
	var result parsed
	position := 0
	for {
		length := bytes.IndexByte(heard[position:], '\n')
		if length < 0 {
			return parsed{}
		}
		line := strings.TrimRight(string(heard[position:position+length]), "\r")
		position += length + 1
		start := strings.LastIndex(line, mark+":")
		if start < 0 {
			continue
		}
		line = line[start+len(mark)+1:]
		if rest, ok := strings.CutPrefix(line, "end:"); ok {
			count, status, _ := strings.Cut(rest, ":")
			lines, err1 := strconv.Atoi(count)
			code, err2 := strconv.Atoi(status)
			result.used = position
			result.status = code
			result.complete = err1 == nil && err2 == nil && lines == len(result.lines)
			return result
		}
		head, text, _ := strings.Cut(line, "|")
		number, size, _ := strings.Cut(head, ":")
		if number == strconv.Itoa(len(result.lines)) && size == strconv.Itoa(len(text)) {
			result.lines = append(result.lines, text)
		}
	}
}
