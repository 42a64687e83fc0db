package log

import (
	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
)

// Settings is the table [log].
type Settings struct {
	Level string // error, warn, info or debug
}

// DefaultSettings are those of an empty table.
func DefaultSettings() *Settings { return &Settings{Level: "info"} }

// Keys are those of the table.
func (s *Settings) Keys() []edge.Key {
	return []edge.Key{keys.Choice("level", &s.Level, "error", "warn", "info", "debug")}
}

// Check finds nothing: there is one key.
func (s *Settings) Check() error { return nil }
