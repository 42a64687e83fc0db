package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
)

func TestRun(t *testing.T) {
	good, bad, broken := t.TempDir(), t.TempDir(), t.TempDir()
	for folder, text := range map[string]string{good: "port tcp 8443\n", bad: "port tcp\n", broken: ""} {
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
		state          device.FirewallState
	}{
		{"--help", good, 0, "Usage:", "", "", device.FirewallNone},
		{"", good, 2, "", "Usage:", "", device.FirewallNone},
		{"start", good, 2, "", "Usage:", "", device.FirewallNone},
		{"print", good, 0, "--dport 8443", "", "", device.FirewallNone},
		{"print", bad, 1, "", "a.conf:1: ", "", device.FirewallNone},
		{"load", bad, 1, "", "a.conf:1: ", "iptables -P INPUT DROP", device.FirewallClosed},
		// The runner below answers nothing, so what was loaded is not read back.
		{"load", good, 1, "", "the kernel does not have", "ip6tables -P INPUT DROP", device.FirewallClosed},
		{"load", broken, 1, "", "ip6tables: no such table", "ip6tables -P INPUT DROP", device.FirewallFailed},
	} {
		root := t.TempDir()
		var stdout, stderr bytes.Buffer
		var calls []string
		runner := func(_ context.Context, _, name string, args ...string) (string, error) {
			calls = append(calls, name+" "+strings.Join(args, " "))
			if tc.folder == broken && name == "ip6tables" {
				return "", errors.New("ip6tables: no such table")
			}
			return "", nil
		}
		code := run(strings.Fields(tc.args), []string{tc.folder}, filepath.Join(root, device.FirewallFile), runner, &stdout, &stderr)
		if code != tc.code || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) || !strings.Contains(strings.Join(calls, "\n"), tc.calls) {
			t.Errorf("%q: code %d\nstdout %s\nstderr %s\ncalls %q", tc.args, code, &stdout, &stderr, calls)
		}
		reader, _ := device.NewReader(os.DirFS(root))
		if became := reader.Firewall(); became.State != tc.state || tc.state != device.FirewallNone && !strings.Contains(strings.Join(strings.Fields(stderr.String()), " "), became.Detail) {
			t.Errorf("%q: the service is told %+v\nstderr %s", tc.args, became, &stderr)
		}
		if tc.calls == "" && calls != nil {
			t.Errorf("%q: ran %q", tc.args, calls)
		}
	}
}
