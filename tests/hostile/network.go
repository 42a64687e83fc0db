package hostile

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Where the tests run a second time, with their folder and the binary.
const (
	insideVariable = "GIN_EDGE_HOSTILE_FOLDER"
	binaryVariable = "GIN_EDGE_HOSTILE_BINARY"
)

// daemon is the binary that is attacked as a process.
var daemon = os.Getenv(binaryVariable)

// ownNetwork tells that the addresses are those of prepareNetwork. Else they are
// in 127.0.0.0/8, and there are no others.
var ownNetwork bool

var (
	serviceAddress  = netip.MustParseAddr("127.0.0.1")
	serviceAddress6 netip.Addr
	honestAddress   = netip.MustParseAddr("127.0.0.2") // is served throughout
	askingAddress   = netip.MustParseAddr("127.0.0.3") // asks for figures
	keepingAddress  = netip.MustParseAddr("127.0.0.4") // this one and those that follow lose no request
)

// attackerAddress is one of up to 62500.
func attackerAddress(number int, v6, vanish bool) netip.Addr {
	a, b := byte(number/250), byte(number%250+1)
	switch {
	case v6:
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, a, b})
	case vanish:
		return netip.AddrFrom4([4]byte{203, 0, 113, b})
	case ownNetwork:
		return netip.AddrFrom4([4]byte{198, 19, a, b})
	}
	return netip.AddrFrom4([4]byte{127, 1, a, b})
}

// vanishing is the network of the peers that vanish (TEST-NET-3).
const vanishing = "203.0.113.1/24"

// prepareNetwork gives this network of ours the addresses: those that RFC 2544
// and RFC 3849 set aside, and that no rule for loopback addresses is for. An
// address with a prefix on lo makes all addresses of the prefix local ones.
func prepareNetwork() error {
	for _, command := range []string{
		"ip link set lo up",
		"ip addr add 198.18.0.1/15 dev lo",
		"ip addr add " + vanishing + " dev lo",
		"ip -6 addr add 2001:db8::1/128 dev lo nodad",
		"ip -6 route add local 2001:db8:1::/64 dev lo",
		"mount --make-rprivate /",
	} {
		if err := runCommand(command); err != nil {
			return err
		}
	}
	ownNetwork = true
	serviceAddress, serviceAddress6 = netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("2001:db8::1")
	honestAddress, askingAddress, keepingAddress = netip.MustParseAddr("198.18.1.2"), netip.MustParseAddr("198.18.1.3"), netip.MustParseAddr("198.18.1.4")
	return nil
}

func runCommand(line string) error {
	words := strings.Fields(line)
	if output, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", line, err, output)
	}
	return nil
}

// dataPartition mounts a file system for the daemon's data.
func dataPartition(path string) (unmount func() error, err error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	if err := syscall.Mount("none", path, "tmpfs", 0, "size=16m"); err != nil {
		return nil, fmt.Errorf("mount %s: %w", path, err)
	}
	return func() error { return syscall.Unmount(path, syscall.MNT_DETACH) }, nil
}
