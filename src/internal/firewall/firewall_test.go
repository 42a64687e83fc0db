package firewall

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	got, err := Parse("f", "# all\nsocket a.socket\n\nport udp 5353 from 10.0.0.0/8 fd00::1 rate 7 # end\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Declaration{
		{Origin: "f:2", Unit: "a.socket", Rate: 100},
		{Origin: "f:4", Protocol: "udp", Port: 5353, Rate: 7,
			From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::1/128")}},
	}
	if !slices.EqualFunc(got, want, func(a, b Declaration) bool {
		return a.Origin == b.Origin && a.Unit == b.Unit && a.Protocol == b.Protocol && a.Port == b.Port && a.Rate == b.Rate && slices.Equal(a.From, b.From)
	}) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"open 80":                         `"open" is not a declaration`,
		"socket":                          "name of a socket unit",
		"socket a.service":                "name of a socket unit",
		"socket -H.socket":                "name of a socket unit",
		"port 80":                         "tcp or udp",
		"port sctp 80":                    "tcp or udp",
		"port tcp 0":                      "1 to 65535",
		"port tcp 65536":                  "1 to 65535",
		"port tcp http":                   "1 to 65535",
		"port tcp 80 from":                "followed by networks",
		"port tcp 80 from rate 3":         "followed by networks",
		"port tcp 80 from 10.0.0.1/8":     "did you mean 10.0.0.0/8",
		"port tcp 80 from host":           "not a network",
		"port tcp 80 from fe80::1%eth0":   "not a network",
		"port tcp 80 from ::ffff:1.2.3.4": "the IPv4 network itself",
		"port tcp 80 rate":                "number of connections",
		"port tcp 80 rate 0":              "1 to 10000",
		"port tcp 80 rate 10001":          "1 to 10000",
		"port tcp 80 to 10.0.0.0/8":       `"to" is not expected here: from or rate`,
		"port tcp 80 rate 3 4":            `"4" is not expected here`,
		"port tcp 80 rate from ::/0":      "number of connections",
	} {
		_, err := Parse("x.conf", "\n"+line)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "x.conf:2: ") {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// A name of the table ends the words of the option before it, in any order.
func TestOptionsFollowEachOther(t *testing.T) {
	saved := options
	t.Cleanup(func() { options = saved })
	quiet := 0
	options = append(slices.Clone(options), option{"quiet", 1, func(*Declaration, []string) error { quiet++; return nil }})
	got, err := Parse("f", "port tcp 80 from 10.0.0.0/8 quiet from ::/0 rate 3 quiet yes\n")
	if err != nil || len(got) != 1 || len(got[0].From) != 2 || got[0].Rate != 3 || quiet != 2 {
		t.Errorf("%+v, quiet %d, %v", got, quiet, err)
	}
}

func TestLaterFolderReplaces(t *testing.T) {
	lib, etc := t.TempDir(), t.TempDir()
	write := func(folder, name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(lib, "b.conf", "port tcp 1\n")
	write(lib, "a.conf", "port tcp 2\n")
	write(lib, "c.conf", "port tcp 3\n")
	write(lib, "ignored.txt", "nonsense\n")
	write(etc, "b.conf", "port tcp 4\n")
	write(etc, "c.conf", "")
	got, err := Load(lib, etc, filepath.Join(etc, "missing"))
	if err != nil || len(got) != 2 || got[0].Port != 2 || got[1].Port != 4 {
		t.Errorf("%+v, %v", got, err)
	}
	write(etc, "b.conf", "port tcp\n")
	if _, err := Load(lib, etc); err == nil || !strings.Contains(err.Error(), filepath.Join(etc, "b.conf")+":1: ") {
		t.Errorf("error %v", err)
	}
}

func TestParseShow(t *testing.T) {
	got, err := ParseShow("Listen=[::]:80 (Stream)\nListen=0.0.0.0:81 (Datagram)\nListen=192.0.2.1:82 (Stream)\nListen=127.0.0.1:83 (Stream)\n" +
		"Listen=[::1]:84 (Stream)\nListen=[fe80::1%2]:85 (Stream)\nListen=/run/a:b (Stream)\nListen=@x:1 (Stream)\nListen=kobject-uevent 1 (Netlink)\nLoadState=loaded\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Listener{
		{Protocol: "tcp", Port: 80},
		{Protocol: "udp", Addr: netip.IPv4Unspecified(), Port: 81},
		{Protocol: "tcp", Addr: netip.MustParseAddr("192.0.2.1"), Port: 82},
		{Protocol: "tcp", Addr: netip.MustParseAddr("fe80::1"), Port: 85},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, text := range []string{"", "LoadState=not-found\n", "LoadState=loaded\nListen=x\n", "LoadState=loaded\nListen=x:y (Stream)\n"} {
		if got, err := ParseShow(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func openings() []Opening {
	return []Opening{
		{Declaration{Rate: 100}, []Listener{{Protocol: "tcp", Port: 80}}},
		{Declaration{Rate: 5, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}},
			[]Listener{{Protocol: "udp", Port: 53}, {Protocol: "tcp", Port: 54, Addr: netip.MustParseAddr("192.0.2.1")}}},
	}
}

// inputs are the rules that open a declared port.
func inputs(rules string) (opened []string) {
	for line := range strings.Lines(rules) {
		if strings.Contains(line, "--ctstate NEW") {
			before, _, _ := strings.Cut(line, " -m conntrack")
			opened = append(opened, strings.TrimPrefix(before, "-A "+Chain+" "))
		}
	}
	return opened
}

func TestRender(t *testing.T) {
	v4, v6 := Render(V4, openings()), Render(V6, openings())
	if got, want := inputs(v4), []string{"-p tcp --dport 80", "-s 10.0.0.0/8 -p udp --dport 53", "-s 10.0.0.0/8 -d 192.0.2.1 -p tcp --dport 54"}; !slices.Equal(got, want) {
		t.Errorf("IPv4: %q", got)
	}
	if got, want := inputs(v6), []string{"-p tcp --dport 80", "-s fd00::/8 -p udp --dport 53"}; !slices.Equal(got, want) {
		t.Errorf("IPv6: %q", got)
	}
	for _, rules := range []string{v4, v6} {
		// Nothing but the policies, our chain and one jump to it: all else is others'.
		if !strings.HasPrefix(rules, "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:GIN-EDGE-INPUT - [0:0]\n-A GIN-EDGE-INPUT -i lo -j ACCEPT\n") ||
			!strings.HasSuffix(rules, "\n-A INPUT -j GIN-EDGE-INPUT\nCOMMIT\n") ||
			strings.Count(rules, "\n-A GIN-EDGE-INPUT ")+6 != strings.Count(rules, "\n") {
			t.Errorf("rules:\n%s", rules)
		}
	}
	if !strings.Contains(v4, "--hashlimit-upto 5/second --hashlimit-burst 10 ") {
		t.Errorf("no rate in\n%s", v4)
	}
	// The kernel goes on with the rate that it has under a name.
	if !strings.Contains(v4, "--hashlimit-name gin-edge-udp-53-5 ") {
		t.Errorf("the rate is not in the name:\n%s", v4)
	}
	if got := inputs(Render(V4, nil)); got != nil {
		t.Errorf("opened without a declaration: %q", got)
	}
}

// kernel is a Runner that keeps the filter table of each tool as iptables would,
// and fails where it is told to.
type kernel struct {
	fail    string // prefix of the command that fails, "-w 10" left out
	missing string // prefix of the commands that are not installed
	drop    bool   // lose a rule of our chain while loading
	calls   []string
	tables  map[string]*filter
}

type filter struct {
	policy     map[string]string
	input, own []string
}

func (k *kernel) table(tool string) *filter {
	if k.tables[tool] == nil {
		if k.tables == nil {
			k.tables = map[string]*filter{}
		}
		k.tables[tool] = &filter{policy: map[string]string{"INPUT": "ACCEPT", "FORWARD": "ACCEPT"}}
	}
	return k.tables[tool]
}

func (k *kernel) run(_ context.Context, input, name string, args ...string) (string, error) {
	if len(args) > 1 && args[0] == "-w" {
		args = args[2:]
	} else if name != "systemctl" {
		return "", errors.New(name + " does not wait for the lock")
	}
	call := strings.Join(append([]string{name}, args...), " ")
	k.calls = append(k.calls, call)
	if k.missing != "" && strings.HasPrefix(call, k.missing) {
		return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
	}
	if k.fail != "" && strings.HasPrefix(call, k.fail) {
		return "", errors.New(name + ": exit status 1: line 5 failed")
	}
	if name == "systemctl" {
		return "LoadState=loaded\nListen=[::]:80 (Stream)\n", nil
	}
	tool, restores := strings.CutSuffix(name, "-restore")
	f := k.table(tool)
	switch {
	case restores && slices.Equal(args, []string{"--noflush"}):
		return "", k.restore(f, input)
	case args[0] == "-P":
		f.policy[args[1]] = args[2]
	case args[0] == "-S":
		var b strings.Builder
		for _, chain := range []string{"INPUT", "FORWARD"} {
			fmt.Fprintf(&b, "-P %s %s\n", chain, f.policy[chain])
		}
		for _, rule := range append(slices.Clone(f.input), f.own...) {
			fmt.Fprintln(&b, rule)
		}
		return b.String(), nil
	case args[0] == "-v":
		return "counters of " + name + "\n", nil
	default:
		return "", fmt.Errorf("unknown: %s", call)
	}
	return "", nil
}

func (k *kernel) restore(f *filter, input string) error {
	for line := range strings.Lines(input) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case line == "*filter" || line == "COMMIT":
		case words[0] == ":"+Chain:
			f.own = nil
		case words[0][0] == ':':
			f.policy[words[0][1:]] = words[1]
		case words[0] == "-A" && words[1] == Chain:
			f.own = append(f.own, line)
		case words[0] == "-A" && words[1] == "INPUT":
			f.input = append(f.input, line)
		case words[0] == "-I" && words[1] == "INPUT":
			n, err := strconv.Atoi(words[2])
			if err != nil {
				return err
			}
			f.input = slices.Insert(f.input, n-1, "-A INPUT "+strings.Join(words[3:], " "))
		default:
			return fmt.Errorf("unknown line %q", line)
		}
	}
	if k.drop && len(f.own) > 1 {
		f.own = f.own[:len(f.own)-1]
	}
	return nil
}

func TestApply(t *testing.T) {
	ctx := context.Background()
	k := &kernel{}
	openings, err := Resolve(ctx, k.run, []Declaration{{Unit: "a.socket", Rate: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range Families {
		for range 2 { // again: one jump, one set of rules
			if err := Apply(ctx, k.run, family, openings); err != nil {
				t.Fatal(err)
			}
		}
		f := k.table(family.Tool)
		if !slices.Equal(f.input, []string{"-A INPUT -j " + Chain}) || f.policy["INPUT"] != "DROP" || f.policy["FORWARD"] != "DROP" ||
			len(inputs(strings.Join(f.own, "\n"))) != 1 || !strings.Contains(strings.Join(f.own, "\n"), "--dport 80 ") {
			t.Errorf("%s: %+v", family.Name, f)
		}
	}
	for _, k := range []*kernel{{fail: "iptables-restore"}, {fail: "iptables -S"}, {drop: true}} {
		err := Apply(ctx, k.run, V4, openings)
		if err == nil {
			t.Fatalf("%+v: no error", k)
		}
		if k.fail == "iptables-restore" && !strings.Contains(err.Error(), `the line is "-A GIN-EDGE-INPUT -i lo -j ACCEPT"`) {
			t.Errorf("the rule is not named: %v", err)
		}
		if k.drop && !strings.Contains(err.Error(), "the kernel does not have what was loaded: GIN-EDGE-INPUT has ") {
			t.Errorf("error %v", err)
		}
	}
}

// The rules of others stay, and ours stand where theirs leave something to decide.
func TestApplyBesideOthers(t *testing.T) {
	const jump, drop = "-A INPUT -j " + Chain, "-A INPUT -j DROP"
	const vpn, early = "-A INPUT -p udp -m udp --dport 51820 -j ACCEPT", "-A INPUT -i eth1 -j " + Chain
	const refuse = `-A INPUT -m comment --comment "all else, \"refused\"" -j REJECT --reject-with icmp-port-unreachable`
	const some = "-A INPUT -m comment --comment word -p tcp -j DROP"
	for _, tc := range []struct{ before, after []string }{
		{nil, []string{jump}},
		{[]string{vpn, some}, []string{vpn, some, jump}},
		{[]string{vpn, drop, some}, []string{vpn, jump, drop, some}},
		{[]string{vpn, refuse}, []string{vpn, jump, refuse}},
		{[]string{early, vpn}, []string{early, vpn}},
		{[]string{"-A INPUT -g " + Chain, drop}, []string{"-A INPUT -g " + Chain, drop}},
	} {
		k := &kernel{}
		k.table("iptables").input = tc.before
		for range 2 {
			if err := Apply(context.Background(), k.run, V4, openings()); err != nil {
				t.Fatal(err)
			}
			if got := k.table("iptables").input; !slices.Equal(got, tc.after) {
				t.Errorf("%q became %q", tc.before, got)
			}
		}
	}
}

// host is this kernel on a device whose IPv6 is as told.
func (k *kernel) host(hasIPv6 bool, off error) Host {
	isOff := false
	return Host{
		Run:     k.run,
		HasIPv6: func() bool { return hasIPv6 },
		TurnOffIPv6: func() error {
			k.calls = append(k.calls, "turn off")
			isOff = off == nil
			return off
		},
		IPv6IsOff: func() bool { return isOff },
	}
}

// What fails closes its own family, in the way that is left.
func TestEnforce(t *testing.T) {
	broken := errors.New("a.conf:1: no port")
	for name, tc := range map[string]struct {
		kernel  kernel
		noIPv6  bool
		off     error
		reason  error
		v4, v6  Fate
		says    string // of the family that is not in force
		turnOff bool
	}{
		"all well":                    {v4: InForce, v6: InForce},
		"no IPv6 in the kernel":       {kernel: kernel{missing: "ip6"}, noIPv6: true, v4: InForce, v6: Absent, says: "the kernel does not have it"},
		"no ip6tables":                {kernel: kernel{missing: "ip6"}, v4: InForce, v6: Absent, says: "there is no ip6tables", turnOff: true},
		"no ip6tables, IPv6 stays on": {kernel: kernel{missing: "ip6"}, off: errors.New("read-only"), v4: InForce, v6: Failed, says: "turn IPv6 off: read-only", turnOff: true},
		"no IPv6 table":               {kernel: kernel{fail: "ip6"}, v4: InForce, v6: Closed, says: "IPv6 is turned off until the next boot", turnOff: true},
		"no rate limit for IPv6":      {kernel: kernel{drop: true}, v4: Closed, v6: Closed, says: "the kernel does not have what was loaded"},
		"no IPv4 table":               {kernel: kernel{fail: "iptables"}, v4: Failed, v6: InForce, says: "close IPv4: "},
		"no iptables at all":          {kernel: kernel{missing: "ip"}, v4: Failed, v6: Absent, says: "close IPv4: ", turnOff: true},
		"a broken declaration":        {reason: broken, v4: Closed, v6: Closed, says: broken.Error()},
		"the same without ip6tables":  {kernel: kernel{missing: "ip6"}, reason: broken, v4: Closed, v6: Absent, says: broken.Error(), turnOff: true},
	} {
		t.Run(name, func(t *testing.T) {
			k := &tc.kernel
			k.table("iptables").own = []string{"-A " + Chain + " -p tcp --dport 22 -j ACCEPT"} // of an earlier load
			results := Enforce(k.host(!tc.noIPv6, tc.off), openings(), tc.reason)
			if len(results) != 2 || results[0].Fate != tc.v4 || results[1].Fate != tc.v6 {
				t.Fatalf("%+v", results)
			}
			said := ""
			for _, r := range results {
				if (r.Err == nil) != (r.Fate == InForce) {
					t.Errorf("%s is %s: %v", r.Family.Name, r.Fate, r.Err)
				}
				if r.Err != nil {
					said += r.Err.Error() + "\n"
				}
				f := k.table(r.Family.Tool)
				if r.Fate == Closed && !tc.turnOff && (f.policy["INPUT"] != "DROP" || f.policy["FORWARD"] != "DROP" ||
					!slices.Equal(f.own, []string{"-A " + Chain + " -i lo -j ACCEPT"})) {
					t.Errorf("%s is not closed: %+v", r.Family.Name, f)
				}
			}
			if !strings.Contains(said, tc.says) {
				t.Errorf("says %q, want %q", said, tc.says)
			}
			if slices.Contains(k.calls, "turn off") != tc.turnOff {
				t.Errorf("calls %q", k.calls)
			}
			if tc.noIPv6 && slices.ContainsFunc(k.calls, func(call string) bool { return strings.HasPrefix(call, "ip6") }) {
				t.Errorf("ip6tables without IPv6: %q", k.calls)
			}
		})
	}
}

// Who replaced the table is found out.
func TestShow(t *testing.T) {
	k := &kernel{}
	host := k.host(true, nil)
	Enforce(host, openings(), nil)
	rules, err := Show(host, V6, openings())
	if err != nil || rules != "counters of ip6tables\n" {
		t.Errorf("%q, %v", rules, err)
	}
	k.table("ip6tables").input = nil
	if _, err := Show(host, V6, openings()); err == nil || !strings.Contains(err.Error(), "INPUT does not lead to "+Chain) {
		t.Errorf("without the jump: %v", err)
	}
	k.table("iptables").policy["FORWARD"] = "ACCEPT"
	if _, err := Show(host, V4, openings()); err == nil || !strings.Contains(err.Error(), `the policy of FORWARD is "ACCEPT"`) {
		t.Errorf("forwarding: %v", err)
	}
	if rules, err := Show(k.host(false, nil), V6, nil); err != nil || !strings.HasPrefix(rules, "# ") {
		t.Errorf("without IPv6: %q, %v", rules, err)
	}
	k = &kernel{missing: "ip6"}
	host = k.host(true, nil)
	if _, err := Show(host, V6, nil); err == nil {
		t.Error("without ip6tables: no error before the load")
	}
	Enforce(host, nil, nil)
	if rules, err := Show(host, V6, nil); err != nil || !strings.Contains(rules, "turned off") {
		t.Errorf("without ip6tables: %q, %v", rules, err)
	}
}

func TestCheckIPv6Off(t *testing.T) {
	settings := t.TempDir()
	for name, value := range map[string]string{"all": "1", "default": "1", "lo": "0", "eth0": "1", "gone": ""} {
		if err := os.Mkdir(filepath.Join(settings, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if value == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(settings, name, "disable_ipv6"), []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkIPv6Off(settings); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(settings, "eth0", "disable_ipv6"), []byte("0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkIPv6Off(settings); err == nil || !strings.Contains(err.Error(), "eth0/disable_ipv6 is \"0\"") {
		t.Errorf("error %v", err)
	}
}

func TestResolveNamesTheDeclaration(t *testing.T) {
	k := &kernel{fail: "systemctl"}
	_, err := Resolve(context.Background(), k.run, []Declaration{{Origin: "f:1", Unit: "a.socket"}})
	if err == nil || !strings.HasPrefix(err.Error(), "f:1: socket unit a.socket: ") {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("socket a.socket from 10.0.0.0/8 ::/0 rate 5\nport udp 53 # x\n")
	f.Fuzz(func(t *testing.T, text string) {
		declarations, err := Parse("f", text)
		if err != nil {
			return
		}
		for _, d := range declarations {
			if (d.Unit == "") == (d.Port == 0) || d.Rate < 1 || d.Rate > maxRate {
				t.Errorf("%q gives %+v", text, d)
			}
			// Nothing of a declaration may end a line of the rules.
			rules := Render(V6, []Opening{{d, []Listener{{Protocol: "tcp", Port: 1}}}})
			if n := strings.Count(rules, "\n"); n != strings.Count(Render(V6, nil), "\n")+len(inputs(rules)) {
				t.Errorf("%q gives\n%s", text, rules)
			}
		}
	})
}

func FuzzParseShow(f *testing.F) {
	f.Add("LoadState=loaded\nListen=[::]:80 (Stream)\nListen=[fe80::1%2]:85 (Datagram)\n")
	f.Fuzz(func(t *testing.T, text string) {
		listeners, err := ParseShow(text)
		if err != nil {
			return
		}
		for _, l := range listeners {
			if l.Protocol == "" || l.Addr.IsLoopback() || l.Addr.Zone() != "" {
				t.Errorf("%q gives %+v", text, l)
			}
		}
	})
}
