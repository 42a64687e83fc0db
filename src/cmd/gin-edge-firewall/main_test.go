package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/firewall"
)

// answers is what `iptables -S` says before the rules of our chain.
const answers = `-P INPUT DROP
-P FORWARD DROP
-A INPUT -j GIN-EDGE-INPUT
`

func TestRun(t *testing.T) {
	good, bad, broken := t.TempDir(), t.TempDir(), t.TempDir()
	works, half, noTool := t.TempDir(), t.TempDir(), t.TempDir()
	for folder, text := range map[string]string{
		good: "port tcp 8443\n", bad: "port tcp\n", broken: "",
		works: "port tcp 8443\n", half: "port tcp 8443\n", noTool: "port tcp 8443\n",
	} {
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
		{"load", bad, 1, "", "a.conf:1: ", "iptables -w 10 -P INPUT DROP", device.FirewallClosed},
		// The runner below answers nothing, so what was loaded is not read back.
		{"load", good, 1, "", "the kernel does not have", "ip6tables -w 10 -P INPUT DROP", device.FirewallFailed},
		{"load", broken, 1, "", "ip6tables: no such table", "ip6tables -w 10 -P INPUT DROP", device.FirewallFailed},
		{"load", works, 0, "IPv4 in force, IPv6 in force; open: 1 declarations", "", "ip6tables-restore -w 10 --noflush", device.FirewallInForce},
		{"load", half, 0, "", "IPv4 in force, IPv6 closed: load the IPv6 rules: no hashlimit", "ip6tables -w 10 -P INPUT DROP", device.FirewallClosed},
		{"load", noTool, 0, "IPv4 in force, IPv6 absent; open: 1 declarations", "", "turn off", device.FirewallInForce},
		{"status", bad, 1, "", "a.conf:1: ", "", device.FirewallNone},
		{"status", works, 1, "state: none\ndetail: not loaded since the boot\n# IPv4\n", "", "ip6tables -w 10 -v -S", device.FirewallNone},
		{"load status", works, 2, "", "Usage:", "", device.FirewallNone},
	} {
		root := t.TempDir()
		var stdout, stderr bytes.Buffer
		var calls []string
		rules := map[string]string{}
		host := firewall.Host{
			Run: func(_ context.Context, input, name string, args ...string) (string, error) {
				call := name + " " + strings.Join(args, " ")
				calls = append(calls, call)
				tool, restore := strings.CutSuffix(name, "-restore")
				six := tool == "ip6tables"
				switch {
				case tc.folder == broken && six:
					return "", errors.New("ip6tables: no such table")
				case tc.folder == noTool && six:
					return "", &os.PathError{Op: "exec", Path: name, Err: exec.ErrNotFound}
				case tc.folder == half && six && strings.Contains(input, "hashlimit"):
					return "", errors.New("no hashlimit")
				case tc.folder == good:
				case restore:
					rules[tool] = input
				default:
					return answers + rules[tool], nil
				}
				return "", nil
			},
			HasIPv6: func() bool { return true },
			TurnOffIPv6: func() error {
				calls = append(calls, "turn off")
				if tc.folder != noTool {
					return errors.New("no such setting")
				}
				return nil
			},
			IPv6IsOff: func() bool { return false },
		}
		code := run(strings.Fields(tc.args), []string{tc.folder}, filepath.Join(root, device.FirewallFile), host, &stdout, &stderr)
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

// What the last load said does not hold for ever.
func TestStatus(t *testing.T) {
	folder, state := t.TempDir(), filepath.Join(t.TempDir(), "state.json")
	rules := map[string]string{}
	host := firewall.Host{HasIPv6: func() bool { return true }, Run: func(_ context.Context, input, name string, _ ...string) (string, error) {
		if tool, restore := strings.CutSuffix(name, "-restore"); restore {
			rules[tool] = answers + input
		}
		return rules[name], nil
	}}
	status := func(args string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		code := run([]string{args}, []string{folder}, state, host, &stdout, &stderr)
		return code, stdout.String(), stderr.String()
	}
	if code, stdout, stderr := status("load"); code != 0 {
		t.Fatalf("load: %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := status("status"); code != 0 || stderr != "" || !strings.HasPrefix(stdout, "state: in-force\n# IPv4\n-P INPUT DROP\n") {
		t.Errorf("status: %d\n%s%s", code, stdout, stderr)
	}
	rules["iptables"] = "-P INPUT ACCEPT\n"
	if code, _, stderr := status("status"); code != 1 || !strings.Contains(stderr, `IPv4: the policy of INPUT is "ACCEPT"`) {
		t.Errorf("status of a table that somebody replaced: %d %s", code, stderr)
	}
	if err := os.WriteFile(state, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := status("status"); code != 1 || !strings.Contains(stderr, state+": state is not one of") {
		t.Errorf("status with a bad file: %d %s", code, stderr)
	}
}
