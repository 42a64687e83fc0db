package api

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
)

// Access is the table [access].
type Access struct {
	// Hosts are the names under which the device is reached, beside those that it
	// knows itself; lower case.
	Hosts []string
}

// Keys are those of the table.
func (a *Access) Keys() []edge.Key {
	return []edge.Key{keys.Texts("hosts", &a.Hosts, hostNames, readHostName)}
}

// Check finds nothing: there is one key.
func (a *Access) Check() error { return nil }

// hostNames are bounded, as each request is compared with them.
var hostNames = keys.Items{High: 64, One: "a host name", Many: "host names", Example: "device.example.com"}

// readHostName takes the name of a host, as the header Host has it but for the
// port. Its case does not matter.
func readHostName(s string) (string, error) {
	if !isHostName(s) {
		return "", fmt.Errorf(`%s is not a host name like "device.example.com", without a port; IP addresses are always allowed`, keys.Quote(s))
	}
	return strings.ToLower(s), nil
}

// isHostName takes what RFC 1123 (section 2.1) and RFC 1035 allow, and the
// underscore that some networks use; not an IP address.
func isHostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		bare := strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || !bare {
			return false
		}
	}
	return true
}
