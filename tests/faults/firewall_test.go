package faults

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/guest"
)

// listening is a port that nobody declared; the guest listens on it during a
// scan.
const listening = 8081

// outside puts a scanner on the guest's network. It stays over resets.
func (m *machine) outside(t *testing.T) *scanner {
	t.Helper()
	tap, err := m.Guest.Tap("scan")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !m.Ended {
			tap.Remove()
		}
	})
	// /proc knows the addresses without any tool.
	local := m.Run(t, "grep -m1 ' 20 .. ' /proc/net/if_inet6 | cut -d' ' -f1")
	bytes, err := hex.DecodeString(local)
	if err != nil || len(bytes) != 16 {
		t.Fatalf("no link-local address: %q", local)
	}
	s := startScanner(tap.In, tap.Out, tap.MAC, netip.MustParseAddr("10.0.2.15"), netip.AddrFrom16([16]byte(bytes)))
	t.Cleanup(func() { _ = s.close() })
	return s
}

// listen opens the undeclared port with PID 1, on all addresses.
func (m *machine) listen(t *testing.T) {
	t.Helper()
	m.Run(t, fmt.Sprintf("systemd-run -q --unit=undeclared --socket-property=ListenStream=%d sleep infinity", listening))
	t.Cleanup(func() {
		if !t.Failed() {
			m.Run(t, "systemctl stop undeclared.socket")
		}
	})
}

func both(proto byte, numbers ...uint16) []port {
	var ports []port
	for _, number := range numbers {
		ports = append(ports, port{false, proto, number}, port{true, proto, number})
	}
	return ports
}

// declared asks the guest what its declarations open for new connections: ports,
// and those of socket units, of which systemd knows the addresses.
func (m *machine) declared(t *testing.T) []port {
	t.Helper()
	var ports []port
	open := func(kind, number string) {
		value, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			t.Fatalf("a declaration opens port %q", number)
		}
		ports = append(ports, both(map[string]byte{"tcp": protoTCP, "udp": protoUDP}[kind], uint16(value))...)
	}
	text := m.Run(t, "cat /usr/lib/gin-edge/firewall.d/*.conf; cat /etc/gin-edge/firewall.d/*.conf 2>/dev/null || :")
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "port":
			open(words[1], words[2])
		default:
			for _, listen := range strings.Split(m.Run(t, "systemctl show -P Listen "+words[1]), "\n") {
				address, kind, _ := strings.Cut(listen, " ")
				open(map[string]string{"(Stream)": "tcp", "(Datagram)": "udp"}[kind], address[strings.LastIndex(address, ":")+1:])
			}
		}
	}
	if len(ports) == 0 {
		t.Fatalf("nothing is declared: %s", text)
	}
	return ports
}

// wantOnly checks the answers of a scan: of these ports all, of others none.
func wantOnly(t *testing.T, declared []port, when string, answers []answer) {
	t.Helper()
	for _, a := range answers {
		if a.kind != answerOpen || !slices.Contains(declared, a.port) {
			t.Errorf("%s: %v answers: %s", when, a.port, a.kind)
		}
	}
	for _, p := range declared {
		if !slices.ContainsFunc(answers, func(a answer) bool { return a.port == p }) {
			t.Errorf("%s: %v does not answer", when, p)
		}
	}
}

func TestFirewallScan(t *testing.T) {
	r := begin(t, "port scan from outside", "before, during and after a reload")
	m := running(t)
	declared := m.declared(t)
	m.listen(t)
	s := m.outside(t)

	// The scanner sees the listener as soon as the filter lets it, so that its
	// silence says something.
	undeclared := both(protoTCP, listening)
	tables := []string{"iptables", "ip6tables"}
	for _, tool := range tables {
		m.Run(t, fmt.Sprintf("%s -w -I INPUT -p tcp --dport %d -j ACCEPT", tool, listening))
	}
	answers, err := s.scan(undeclared, 20000)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range undeclared {
		if !slices.ContainsFunc(answers, func(a answer) bool { return a.port == p && a.kind == answerOpen }) {
			t.Fatalf("%v is open for the proof, but the scanner does not see it: %v", p, answers)
		}
	}
	for _, tool := range tables {
		m.Run(t, fmt.Sprintf("%s -w -D INPUT -p tcp --dport %d -j ACCEPT", tool, listening))
	}

	last := uint16(1100)
	if *setFlag == "full" {
		last = 65535
	}
	ports := append(slices.Clone(undeclared), both(protoUDP, 53, 67, 68, 69, 123, 137, 161, 500, 514, 546, 547, 1900, 5353, 5355, 33434)...)
	for number := uint16(1); ; number++ {
		if number != listening {
			ports = append(ports, both(protoTCP, number)...)
		}
		if number == last {
			break
		}
	}
	for _, p := range declared {
		if !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	// The two ports of DHCP's clients are open to its servers' port alone, and
	// we ask from others.
	const received = "cat /sys/class/net/e*/statistics/rx_packets"
	before, begin := m.Number(t, received), time.Now()
	if answers, err = s.scan(ports, 21000); err != nil {
		t.Fatal(err)
	}
	r.took = fmt.Sprintf("%d ports in %.0f s", len(ports), time.Since(begin).Seconds())
	wantOnly(t, declared, "before the reload", answers)
	// Silence says nothing of a port whose question never arrived.
	if arrived := m.Number(t, received) - before; arrived < float64(len(ports)) {
		t.Errorf("%d ports were asked, only %.0f packets arrived", len(ports), arrived)
	}

	// Again and again while the rules are being replaced.
	m.Run(t, "(sleep 1; for n in 1 2 3 4 5; do systemctl reload gin-edge-firewall.service || echo failed; done >/run/reloads 2>&1; touch /run/reloaded) >/dev/null 2>&1 &")
	s.take()
	rounds, answered, leaked := 0, map[port]int{}, map[port]int{}
	stop := time.Now().Add(guest.RunTimeout)
	for done := false; !done; rounds++ {
		// Is it over? Asked before the round, so that one follows the end.
		_, status := m.Try(t, "test -e /run/reloaded")
		done = status == 0
		for range 40 {
			answers, err := s.scan(append(slices.Clone(undeclared), both(protoTCP, 22)...), 22000)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range answers {
				leaked[a.port]++
			}
		}
		answers, err := s.scan(declared, uint16(23000+rounds%1000))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			answered[a.port]++
		}
		if time.Now().After(stop) {
			t.Fatal("the reloads do not end")
		}
	}
	for p, times := range leaked {
		t.Errorf("during the reload %v answered %d times of %d", p, times, rounds*40)
	}
	for _, p := range declared {
		if answered[p] != rounds {
			t.Errorf("during the reload %v answered %d of %d times", p, answered[p], rounds)
		}
	}
	if failed := m.Run(t, "cat /run/reloads; rm -f /run/reloads /run/reloaded"); failed != "" {
		t.Errorf("a reload failed: %s", failed)
	}
	if answers, err = s.scan(ports[:min(len(ports), 400)], 24000); err != nil {
		t.Fatal(err)
	}
	answersOf, err := s.scan(declared, 25000)
	if err != nil {
		t.Fatal(err)
	}
	wantOnly(t, declared, "after the reload", append(answers, answersOf...))
	r.cause = fmt.Sprintf("open: %v; %d rounds during 5 reloads", declared, rounds)
	m.WantHealthy(t)
}

// The rules are in force before anything brings an address up.
func TestFirewallFirst(t *testing.T) {
	r := begin(t, "early boot", "order of units")
	m := running(t)
	stamp := func(property, unit string) int {
		t.Helper()
		value, err := strconv.Atoi(m.Run(t, "systemctl show -P "+property+" "+unit))
		if err != nil || value == 0 {
			t.Fatalf("%s of %s: %d, %v", property, unit, value, err)
		}
		return value
	}
	loaded := stamp("ExecMainExitTimestampMonotonic", "gin-edge-firewall.service")
	network := stamp("ExecMainStartTimestampMonotonic", "systemd-networkd.service")
	r.cause = fmt.Sprintf("rules %.1f s, networkd %.1f s", float64(loaded)/1e6, float64(network)/1e6)
	if loaded >= network {
		t.Errorf("the rules were loaded at %d us, systemd-networkd started at %d us", loaded, network)
	}
	// A product's own rules would remove ours.
	after := strings.Fields(m.Run(t, "systemctl show -P After gin-edge-firewall.service"))
	if !slices.Contains(after, "iptables.service") || !slices.Contains(after, "ip6tables.service") {
		t.Errorf("not after the services of iptables: %v", after)
	}
	for property, unit := range map[string]string{"After": "systemd-networkd.service", "Requires": "systemd-networkd.service"} {
		if units := m.Run(t, "systemctl show -P "+property+" "+unit); !slices.Contains(strings.Fields(units), "gin-edge-firewall.service") {
			t.Errorf("%s=%s of %s has no gin-edge-firewall.service", property, units, unit)
		}
	}
}

// Any network manager waits for the rules, and does not start without: stand-ins
// for those that the image does not have.
func TestFirewallManagers(t *testing.T) {
	r := begin(t, "other network managers", "rules that cannot be loaded")
	m := running(t)
	if targets := m.Run(t, "systemctl show -P WantedBy gin-edge-firewall.service"); !slices.Contains(strings.Fields(targets), "sysinit.target") {
		t.Errorf("without a network manager nobody starts the firewall: WantedBy=%s", targets)
	}
	managers := []string{"NetworkManager", "connman", "dhcpcd", "networking"}
	for _, manager := range managers {
		m.Run(t, fmt.Sprintf("test $(systemctl show -P LoadState %[1]s.service) = not-found && "+
			"printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n' >/run/systemd/system/%[1]s.service", manager))
	}
	m.Run(t, "systemctl daemon-reload")
	const declaration = "/usr/lib/gin-edge/firewall.d/gin-edged-http.conf"
	var before uint64
	for _, e := range m.events(t) {
		before = max(before, e.Seq)
	}
	m.Run(t, "echo 'port tcp none' >/run/broken && mount --bind /run/broken "+declaration)
	if output, status := m.Try(t, "systemctl restart gin-edge-firewall.service"); status == 0 {
		t.Errorf("the restart succeeds: %s", output)
	}
	for _, manager := range managers {
		for _, property := range []string{"After", "Requires"} {
			if units := m.Run(t, "systemctl show -P "+property+" "+manager+".service"); !slices.Contains(strings.Fields(units), "gin-edge-firewall.service") {
				t.Errorf("%s=%s of %s has no gin-edge-firewall.service", property, units, manager)
			}
		}
		if output, status := m.Try(t, "systemctl start "+manager+".service"); status == 0 {
			t.Errorf("%s starts without rules: %s", manager, output)
		}
	}
	m.Run(t, "umount "+declaration+" && systemctl reset-failed")
	for _, manager := range managers {
		m.Run(t, fmt.Sprintf("systemctl start %[1]s.service && systemctl stop %[1]s.service && rm /run/systemd/system/%[1]s.service", manager))
	}
	m.Run(t, "systemctl daemon-reload && systemctl start systemd-networkd.service")
	m.Wait200(t, time.Minute)
	r.cause = "none starts"
	m.WantHealthy(t)
}

// The rules of a product stay when ours are loaded again, and ours are there once.
func TestFirewallBesideOthers(t *testing.T) {
	r := begin(t, "firewall beside others' rules", "two reloads")
	m := running(t)
	rules := []string{"INPUT -p udp -m udp --dport 51820 -j ACCEPT", "FORWARD -i br0 -j ACCEPT", "OUTPUT -p tcp -m tcp --dport 9 -j DROP"}
	each := func(action string) {
		t.Helper()
		for _, tool := range []string{"iptables", "ip6tables"} {
			for _, rule := range rules {
				m.Run(t, tool+" -w "+action+" "+rule)
			}
		}
	}
	each("-A")
	m.Run(t, "systemctl reload gin-edge-firewall.service && systemctl reload gin-edge-firewall.service")
	for _, tool := range []string{"iptables", "ip6tables"} {
		table := "\n" + m.Run(t, tool+" -w -S") + "\n"
		for _, rule := range append(slices.Clone(rules), "INPUT -j GIN-EDGE-INPUT") {
			if count := strings.Count(table, "\n-A "+rule+"\n"); count != 1 {
				t.Errorf("%s has %d times %q:%s", tool, count, rule, table)
			}
		}
	}
	if output, status := m.Try(t, "gin-edge-firewall status"); status != 0 {
		t.Errorf("gin-edge-firewall status: %s", output)
	}
	each("-D")
	r.cause = "theirs and ours are there"
	m.WantHealthy(t)
}

// Rules that the kernel does not take close the network; the device says why and
// goes on.
func TestFirewallRefused(t *testing.T) {
	r := begin(t, "firewall rules refused", "a broken declaration, then a reload")
	m := running(t)
	const declaration = "/usr/lib/gin-edge/firewall.d/gin-edged-http.conf"
	var before uint64
	for _, e := range m.events(t) {
		before = max(before, e.Seq)
	}
	m.Run(t, "echo 'port tcp none' >/run/broken && mount --bind /run/broken "+declaration)
	if output, status := m.Try(t, "systemctl reload gin-edge-firewall.service"); status == 0 {
		t.Errorf("the reload succeeds: %s", output)
	}
	// The journal tells the place and the remedy.
	if reason, _ := m.Try(t, "journalctl -b -q --no-pager -o cat -u gin-edge-firewall.service | grep -m1 'gin-edged-http.conf:1: '"); reason == "" {
		t.Error("the journal does not name file and line")
	}
	if code, err := m.Get("/livez", 3*time.Second, nil); err == nil {
		t.Errorf("/livez from outside: %d; the network is not closed", code)
	}
	if told := m.Loopback(t, "/api/v1/system/status", `"firewall":{[^}]*}`); !strings.Contains(told, `"state":"closed","detail":"`+declaration+`:1: `) {
		t.Errorf("the status does not tell: %q", told)
	}
	m.Run(t, "umount "+declaration+" && systemctl reload-or-restart gin-edge-firewall.service")
	m.Wait200(t, time.Minute)
	// Earlier faults may have left events of their own: those of this one are the last two.
	var last []event
	guest.Eventually(t, time.Minute, "the event that the firewall is in force again", func() bool {
		last = slices.DeleteFunc(m.events(t), func(e event) bool { return e.Kind != "firewall" })
		last = last[max(0, len(last)-2):]
		return len(last) == 2 && last[1].Severity == "info" && last[1].Seq > before
	})
	if last[0].Severity != "critical" || !strings.Contains(last[0].Message, declaration+":1: ") {
		t.Errorf("the event is %+v", last[0])
	}
	r.cause = "closed, told, open again"
	m.WantHealthy(t)
}

// A whole boot under fire: of the ports of a closed device not one answers, at
// no time.
func TestFirewallEarlyBoot(t *testing.T) {
	inFull(t)
	r := begin(t, "early boot", "scanned through a reboot")
	m := running(t)
	declared := m.declared(t)
	s := m.outside(t)
	ports := slices.DeleteFunc(both(protoTCP, 22, 23, 111, 443, 5355, listening), func(p port) bool { return slices.Contains(declared, p) })
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		sent := 0
		defer func() { ended <- sent }()
		for {
			for n, p := range append(slices.Clone(ports), declared...) {
				if s.ask(p, uint16(30000+sent%10000+n)) != nil {
					return
				}
			}
			sent += len(ports) + len(declared)
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	back := m.Reset(t, 3*time.Minute, func() { m.Later(t, "systemctl reboot") })
	close(stop)
	sent := <-ended
	if err := s.settle(time.Minute); err != nil {
		t.Fatal(err)
	}
	r.note(t, m, back, "reboot")
	answers := s.take()
	open := 0
	for _, a := range answers {
		if !slices.Contains(declared, a.port) {
			t.Errorf("%v answers: %s", a.port, a.kind)
		}
		open++
	}
	if open == 0 {
		t.Error("nothing answered, the declared port neither: the scan did not reach the guest")
	}
	r.cause += fmt.Sprintf(", %d probes, %d answers", sent, open)
}
