package device

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// resetFile is written at boot, before the service starts, by a unit that may
// look where the service may not.
const resetFile = "run/gin-edge-boot/reset-cause"

// maxResetBytes bounds resetFile.
const maxResetBytes = 4 << 10

// Causes are what a reset can come from.
var Causes = []string{"power-loss", "reboot", "poweroff", "watchdog", "kernel-panic", "service-failure", "first-boot", "unknown"}

// Reset is why the device started the last time.
type Reset struct {
	Cause  string `json:"cause"`
	Detail string `json:"detail"`
	Boots  uint64 `json:"boots"` // since the data partition was made; 0 when not known
}

// ParseReset reads lines KEY=VALUE: cause, one of Causes; detail, text; boots, a
// decimal number. Each is there once at most, cause always; nothing else is.
func ParseReset(data []byte) (Reset, error) {
	var r Reset
	if len(data) > maxResetBytes {
		return Reset{}, fmt.Errorf("larger than %d bytes", maxResetBytes)
	}
	if !utf8.Valid(data) {
		return Reset{}, errors.New("not UTF-8")
	}
	seen := map[string]bool{}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		fail := func(text string) (Reset, error) { return Reset{}, fmt.Errorf("line %d: %s", number, text) }
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch {
		case !ok:
			return fail("not KEY=VALUE")
		case strings.ContainsFunc(value, unicode.IsControl):
			return fail("a control character")
		case seen[key]:
			return fail("the key is there twice")
		}
		seen[key] = true
		switch key {
		case "cause":
			if !slices.Contains(Causes, value) {
				return fail("cause is not one of " + strings.Join(Causes, ", "))
			}
			r.Cause = value
		case "detail":
			r.Detail = value
		case "boots":
			var err error
			if r.Boots, err = strconv.ParseUint(value, 10, 53); err != nil { // what JSON numbers can hold
				return fail("boots is not a decimal number")
			}
		default:
			return fail("unknown key; known keys are cause, detail, boots")
		}
	}
	if !seen["cause"] {
		return Reset{}, errors.New("no line cause=")
	}
	return r, nil
}

// LastReset returns why the device started. It was read once, by NewReader.
func (r *Reader) LastReset() Reset { return r.reset }

func readReset(root fs.FS) (Reset, error) {
	data, err := fs.ReadFile(root, resetFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Reset{Cause: "unknown", Detail: "not recorded"}, nil
	}
	var reset Reset
	if err == nil {
		reset, err = ParseReset(data)
	}
	if err != nil {
		return Reset{Cause: "unknown", Detail: "the record cannot be read"}, fmt.Errorf("%s: %w", resetFile, err)
	}
	return reset, nil
}
