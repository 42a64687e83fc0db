package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"
)

// FirewallFile is where gin-edge-firewall leaves what became of the rules,
// below /.
const FirewallFile = "run/gin-edge-firewall/state.json"

// maxFirewallBytes bounds FirewallFile.
const maxFirewallBytes = 4 << 10

// FirewallState says how the packet filter is.
type FirewallState string

// The states.
const (
	FirewallNone    FirewallState = "none"     // the device has none of ours
	FirewallInForce FirewallState = "in-force" // as declared, in each address family that the kernel has
	FirewallClosed  FirewallState = "closed"   // the rules of a family were refused: all that comes in over it is dropped
	FirewallFailed  FirewallState = "failed"   // nor could it be closed, or what was left of it makes no sense
	FirewallUnknown FirewallState = "unknown"  // what was left of it cannot be read for want of memory or descriptors
)

// Firewall is what became of the rules when they were loaded the last time.
type Firewall struct {
	State  FirewallState `json:"state"`
	Detail string        `json:"detail"` // why it is not in force, else ""
}

// Write leaves the state for ReadFirewall in a file, whole or not at all.
func (f Firewall) Write(file string) error {
	f.Detail = strings.Join(strings.Fields(strings.ToValidUTF8(f.Detail, "?")), " ")
	f.Detail = f.Detail[:min(len(f.Detail), maxFirewallBytes/8)] // JSON may write a byte as six
	f.Detail = strings.ToValidUTF8(f.Detail, "")
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Firewall returns the state of now. It reads from memory: /run is a tmpfs.
func (r *Reader) Firewall() Firewall {
	data, err := fs.ReadFile(r.root, FirewallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Firewall{State: FirewallNone}
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) {
		// Want of this process or of the system, which says nothing of the filter.
		return Firewall{State: FirewallUnknown, Detail: fmt.Sprintf("%s: %v", FirewallFile, err)}
	}
	var f Firewall
	if err == nil {
		f, err = ParseFirewall(data)
	}
	if err != nil {
		return Firewall{State: FirewallFailed, Detail: fmt.Sprintf("%s: %v", FirewallFile, err)}
	}
	return f
}

// ParseFirewall reads what Write wrote.
func ParseFirewall(data []byte) (Firewall, error) {
	var f Firewall
	if len(data) > maxFirewallBytes {
		return Firewall{}, fmt.Errorf("larger than %d bytes", maxFirewallBytes)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return Firewall{}, err
	}
	known := []FirewallState{FirewallInForce, FirewallClosed, FirewallFailed}
	if !slices.Contains(known, f.State) {
		return Firewall{}, fmt.Errorf("state is not one of %v", known)
	}
	if strings.ContainsFunc(f.Detail, unicode.IsControl) {
		return Firewall{}, errors.New("a control character in detail")
	}
	return f, nil
}
