package firewall

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
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

// inputs are the rules of the chain INPUT that open a declared port.
func inputs(rules string) (opened []string) {
	for line := range strings.Lines(rules) {
		if strings.Contains(line, "--ctstate NEW") {
			before, _, _ := strings.Cut(line, " -m conntrack")
			opened = append(opened, before)
		}
	}
	return opened
}

func TestRender(t *testing.T) {
	v4, v6 := Render(V4, openings()), Render(V6, openings())
	if got, want := inputs(v4), []string{"-A INPUT -p tcp --dport 80", "-A INPUT -s 10.0.0.0/8 -p udp --dport 53", "-A INPUT -s 10.0.0.0/8 -d 192.0.2.1 -p tcp --dport 54"}; !slices.Equal(got, want) {
		t.Errorf("IPv4: %q", got)
	}
	if got, want := inputs(v6), []string{"-A INPUT -p tcp --dport 80", "-A INPUT -s fd00::/8 -p udp --dport 53"}; !slices.Equal(got, want) {
		t.Errorf("IPv6: %q", got)
	}
	for _, rules := range []string{v4, v6} {
		if !strings.HasPrefix(rules, "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n") || !strings.HasSuffix(rules, "\nCOMMIT\n") {
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

// kernel is a Runner that keeps what was loaded, and fails where it is told to.
type kernel struct {
	fail   string // "NAME ARGS" prefix of the command that fails
	drop   bool   // lose a rule while loading
	calls  []string
	loaded map[string][]string
}

func (k *kernel) run(_ context.Context, input, name string, args ...string) (string, error) {
	call := strings.Join(append([]string{name}, args...), " ")
	k.calls = append(k.calls, call)
	if k.fail != "" && strings.HasPrefix(call, k.fail) {
		return "", errors.New(name + ": exit status 1: line 5 failed")
	}
	tool := strings.TrimSuffix(name, "-restore")
	switch {
	case name == "systemctl":
		return "LoadState=loaded\nListen=[::]:80 (Stream)\n", nil
	case tool != name:
		rules := []string{"-P INPUT DROP"}
		for line := range strings.Lines(input) {
			if strings.HasPrefix(line, "-A INPUT ") {
				rules = append(rules, strings.TrimSpace(line))
			}
		}
		if k.drop {
			rules = rules[:len(rules)-1]
		}
		k.loaded[tool] = rules
	case args[0] == "-S":
		return strings.Join(k.loaded[tool], "\n") + "\n", nil
	}
	return "", nil
}

func TestApply(t *testing.T) {
	ctx := context.Background()
	k := &kernel{loaded: map[string][]string{}}
	openings, err := Resolve(ctx, k.run, []Declaration{{Unit: "a.socket", Rate: 1}})
	if err != nil || Apply(ctx, k.run, openings) != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"iptables", "ip6tables"} {
		if !strings.Contains(strings.Join(k.loaded[tool], "\n"), "--dport 80") {
			t.Errorf("%s: %q", tool, k.loaded[tool])
		}
	}
	for _, k := range []*kernel{
		{fail: "iptables-restore"}, {fail: "ip6tables-restore"}, {fail: "iptables -S"}, {drop: true},
	} {
		k.loaded = map[string][]string{}
		err := Apply(ctx, k.run, openings)
		if err == nil {
			t.Fatalf("%+v: no error", k)
		}
		if err := Close(ctx, k.run); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"iptables -P INPUT DROP", "ip6tables -P INPUT DROP", "iptables -F INPUT", "ip6tables -F INPUT"} {
			if !slices.Contains(k.calls, want) {
				t.Errorf("%v: not closed: %q is not in %q", err, want, k.calls)
			}
		}
		if strings.HasSuffix(k.fail, "restore") && !strings.Contains(err.Error(), `the line is "-A INPUT -i lo -j ACCEPT"`) {
			t.Errorf("the rule is not named: %v", err)
		}
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
