package edge

// Settings are the values of one table of the configuration. Keys leads to the
// fields of the receiver.
type Settings interface {
	// Keys are all keys of the table. Package edge/keys makes them.
	Keys() []Key
	// Check says whether the values, each of them good, fit together. A KeyError
	// gives the message the file and line.
	Check() error
}

// Key is one key of a table.
type Key struct {
	Name string // a-z, 0-9 and _
	// Set takes the value of a file over: a string, int64, bool or []any of these.
	// The error says what is wrong with it and what would be right; file, line and
	// key are put before it.
	Set func(value any) error
	// Format writes the value as TOML, so that it reads back to the same.
	Format func() string
	// Secret: the value is never shown.
	Secret bool
}

// KeyError is an error about the values of keys. The message names the file and
// line of the first of them that a file sets.
type KeyError struct {
	Keys []string // of the same table
	Err  error
}

// Error is the text of Err.
func (e *KeyError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *KeyError) Unwrap() error { return e.Err }

// Secret is a text that is not shown: neither printed, nor logged, nor in JSON.
// A conversion to string gives it.
type Secret string

const hidden = "(secret)"

// String hides the text.
func (Secret) String() string { return hidden }

// GoString hides the text.
func (Secret) GoString() string { return hidden }

// MarshalText hides the text.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
