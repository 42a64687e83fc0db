package vm

import (
	"testing"
	"time"
)

// Shell is the guest's shell for a test.
type Shell struct {
	Console *Console
	Limit   time.Duration // how long a command may take
	Log     string        // of the serial line, which a failure names
}

// Try runs a command in the guest and returns its output and exit status. The
// test ends when the guest does not answer.
func (s *Shell) Try(t testing.TB, command string) (output string, status int) {
	t.Helper()
	output, status, err := s.Console.Run(command, s.Limit)
	if err != nil {
		t.Fatalf("%v; see %s", err, s.Log)
	}
	return output, status
}

// Run is Try with a command that has to succeed.
func (s *Shell) Run(t testing.TB, command string) string {
	t.Helper()
	output, status := s.Try(t, command)
	if status != 0 {
		t.Fatalf("guest: %s: exit status %d\n%s", command, status, output)
	}
	return output
}
