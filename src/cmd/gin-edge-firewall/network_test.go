package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/firewall"
)

// Two network namespaces, the device and somebody outside. The test binary is
// the command and the programs at both ends, too: it starts itself in them.
const (
	roleVariable   = "GIN_EDGE_FIREWALL_TEST" // what to be: command, serve or dial
	folderVariable = "GIN_EDGE_FIREWALL_FOLDER"
)

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "command":
		folder := os.Getenv(folderVariable)
		os.Exit(run(os.Args[1:], []string{folder}, filepath.Join(folder, "state.json"), firewall.ThisHost, os.Stdout, os.Stderr))
	case "serve":
		exit(serve(os.Args[1:]))
	case "dial":
		exit(dial(os.Args[1], os.Args[2], os.Args[3], os.Args[4]))
	default:
		exit(errors.New(role + ": no such role"))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve listens on the TCP ports, and answers on the UDP port of the same number,
// until the end of its standard input.
func serve(ports []string) error {
	for _, port := range ports {
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_ = conn.Close()
			}
		}()
		// A socket of each family: it answers from the address that was asked.
		for _, network := range []string{"udp4", "udp6"} {
			conn, err := net.ListenPacket(network, ":"+port)
			if err != nil {
				return err
			}
			go func() {
				buffer := make([]byte, 16)
				for {
					n, from, err := conn.ReadFrom(buffer)
					if err != nil {
						return
					}
					_, _ = conn.WriteTo(buffer[:n], from)
				}
			}()
		}
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// dial asks the address so often and prints how often it was open and not.
func dial(network, address, times, patience string) error {
	count, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	timeout, err := time.ParseDuration(patience)
	if err != nil {
		return err
	}
	open := 0
	for range count {
		conn, err := net.DialTimeout(network, address, timeout)
		if err != nil {
			continue
		}
		if strings.HasPrefix(network, "udp") {
			_ = conn.SetDeadline(time.Now().Add(timeout))
			if _, err = conn.Write([]byte("?")); err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
		}
		if err == nil {
			open++
		}
		_ = conn.Close()
	}
	fmt.Printf("%d of %d", open, count)
	return nil
}

const (
	declared   = 8443
	undeclared = 8444
	foreign    = 51820 // opened by the product itself
)

// addresses of the device.
var addresses = map[string]string{"4": "192.0.2.1", "6": "[2001:db8::1]"}

// network is a device and somebody outside.
type network struct {
	t       *testing.T
	device  string // namespaces
	outside string
	folder  string // of declarations, and of the state
	tools   string // the iptables commands that the device has
}

// newNetwork skips the test where there is no such thing. The variant is the
// kernel's interface that the tools speak: legacy or nft.
func newNetwork(t *testing.T, variant string, commands ...string) *network {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	multi, err := exec.LookPath("xtables-" + variant + "-multi")
	if err != nil {
		t.Skipf("%v: install iptables", err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skipf("%v: install iproute2", err)
	}
	id := strconv.Itoa(os.Getpid())
	n := &network{t: t, device: "gin-edge-device-" + id, outside: "gin-edge-outside-" + id, folder: t.TempDir(), tools: t.TempDir()}
	for _, command := range commands {
		if err := os.Symlink(multi, filepath.Join(n.tools, command)); err != nil {
			t.Fatal(err)
		}
	}
	for _, namespace := range []string{n.device, n.outside} {
		if out, err := exec.Command("ip", "netns", "add", namespace).CombinedOutput(); err != nil {
			t.Skipf("no network namespaces: %v: %s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", namespace).Run() })
		n.must(namespace, "ip link set lo up")
	}
	if out, err := n.try(n.device, "iptables -S"); err != nil {
		t.Skipf("this kernel does not have %s tables: %v: %s", variant, err, out)
	}
	n.must(n.device, "ip link add eth0 type veth peer name eth0 netns "+n.outside)
	for number, namespace := range []string{n.device, n.outside} {
		n.must(namespace, "ip link set eth0 up")
		n.must(namespace, fmt.Sprintf("ip addr add 192.0.2.%d/24 dev eth0", number+1))
		n.must(namespace, fmt.Sprintf("ip addr add 2001:db8::%d/64 dev eth0 nodad", number+1))
	}
	n.declare(fmt.Sprintf("port tcp %d rate 10000\n", declared))
	return n
}

// command is one that runs in the namespace with the device's tools alone
// besides ip and sh.
func (n *network) command(namespace, role string, words ...string) *exec.Cmd {
	ip, err := exec.LookPath("ip")
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(ip, append([]string{"netns", "exec", namespace}, words...)...)
	// The race detector has each of these processes wait a second at its end.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "PATH="+n.tools, roleVariable+"="+role, folderVariable+"="+n.folder)
	return cmd
}

// try runs a line of sh.
func (n *network) try(namespace, line string) (string, error) {
	n.t.Helper()
	ip, _ := exec.LookPath("ip")
	// gin-edge-firewall is what is tested.
	line = fmt.Sprintf("ip() { %s \"$@\"; }; gin_edge_firewall() { %s \"$@\"; }; %s", ip, os.Args[0], line)
	out, err := n.command(namespace, "command", "/bin/sh", "-euc", line).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (n *network) must(namespace, line string) string {
	n.t.Helper()
	out, err := n.try(namespace, line)
	if err != nil {
		n.t.Fatalf("%s: %v: %s", line, err, out)
	}
	return out
}

func (n *network) declare(text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.folder, "a.conf"), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// serve has the device listen, on declared ports and others.
func (n *network) serve() {
	n.t.Helper()
	cmd := n.command(n.device, "serve", os.Args[0], strconv.Itoa(declared), strconv.Itoa(undeclared), strconv.Itoa(foreign))
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, len("ready\n"))); err != nil {
		n.t.Fatalf("the server does not start: %v", err)
	}
}

// open counts how many of the questions from outside the device answers. Where
// an answer is expected there is time for it on a slow machine.
func (n *network) open(network string, port, times int, patience time.Duration) int {
	n.t.Helper()
	address := fmt.Sprintf("%s:%d", addresses[network[len(network)-1:]], port)
	out, err := n.command(n.outside, "dial", os.Args[0], network, address, strconv.Itoa(times), patience.String()).Output()
	open, _, _ := strings.Cut(string(out), " of ")
	count, convErr := strconv.Atoi(open)
	if err != nil || convErr != nil {
		n.t.Errorf("dial: %v, %q", err, out)
	}
	return count
}

const (
	soon = 300 * time.Millisecond
	late = 5 * time.Second
)

func (n *network) wantOpen(when, network string, port int, want bool) {
	n.t.Helper()
	patience, count := soon, 0
	if want {
		patience, count = late, 1
	}
	if got := n.open(network, port, 1, patience); got != count {
		n.t.Errorf("%s: %s port %d: %d answers, want %d", when, network, port, got, count)
	}
}

func (n *network) wantState(want device.FirewallState) {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.folder, "state.json"))
	if err != nil {
		n.t.Fatal(err)
	}
	if f, err := device.ParseFirewall(data); err != nil || f.State != want {
		n.t.Errorf("the service is told %+v, %v; want %s", f, err, want)
	}
}
