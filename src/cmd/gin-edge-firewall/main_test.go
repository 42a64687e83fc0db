package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	good, bad := t.TempDir(), t.TempDir()
	for folder, text := range map[string]string{good: "port tcp 8443\n", bad: "port tcp\n"} {
		if err := os.WriteFile(filepath.Join(folder, "a.conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args           string
		folder         string
		code           int
		stdout, stderr string
		calls          string
	}{
		{"--help", good, 0, "Usage:", "", ""},
		{"", good, 2, "", "Usage:", ""},
		{"start", good, 2, "", "Usage:", ""},
		{"print", good, 0, "--dport 8443", "", ""},
		{"print", bad, 1, "", "a.conf:1: ", ""},
		{"load", bad, 1, "", "a.conf:1: ", "iptables -P INPUT DROP"},
		// The runner below answers nothing, so what was loaded is not read back.
		{"load", good, 1, "", "the kernel does not have", "ip6tables -P INPUT DROP"},
	} {
		var stdout, stderr bytes.Buffer
		var calls []string
		runner := func(_ context.Context, _, name string, args ...string) (string, error) {
			calls = append(calls, name+" "+strings.Join(args, " "))
			return "", nil
		}
		code := run(strings.Fields(tc.args), []string{tc.folder}, runner, &stdout, &stderr)
		if code != tc.code || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) || !strings.Contains(strings.Join(calls, "\n"), tc.calls) {
			t.Errorf("%q: code %d\nstdout %s\nstderr %s\ncalls %q", tc.args, code, &stdout, &stderr, calls)
		}
		if tc.calls == "" && calls != nil {
			t.Errorf("%q: ran %q", tc.args, calls)
		}
	}
}
