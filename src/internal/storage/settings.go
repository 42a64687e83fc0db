package storage

import (
	"fmt"
	"path"
	"strings"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
)

// Settings is the table [storage].
type Settings struct {
	// Data is where the data partition is mounted; "" means that none is
	// expected.
	Data string
}

// Keys are those of the table.
func (s *Settings) Keys() []edge.Key {
	return []edge.Key{keys.Text("data", &s.Data, checkMountPoint)}
}

// Check finds nothing: there is one key.
func (s *Settings) Check() error { return nil }

// MountCharacters are those that a mount point may have.
const MountCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./"

// maxPath leaves room below PATH_MAX for the names of the service's own files.
const maxPath = 1024

// checkMountPoint takes "" or a path as /proc/self/mountinfo has it: absolute,
// clean and without characters that are escaped there.
func checkMountPoint(s string) error {
	if s != "" && (len(s) < 2 || len(s) > maxPath || path.Clean(s) != s || s[0] != '/' || strings.Trim(s, MountCharacters) != "") {
		return fmt.Errorf(`%s is not a mount point: "", or an absolute path like "/data" of letters, digits and - _ . /, without .. or a / at its end`, keys.Quote(s))
	}
	return nil
}
