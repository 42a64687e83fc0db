// Package device reads who and how this device is: from /etc, /proc and /sys
// below a root that tests replace.
package device

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
)

// AppID is mixed into the machine id. It is a random constant, the same in
// every build, so that a device keeps its id across updates.
// `systemd-id128 machine-id --app-specific=<AppID>` prints the same id.
const AppID = "7c0f4b2e9d6a4a53b1e86f3d2c9a5e71"

// Info identifies the device and its system. What cannot be read is "".
type Info struct {
	ID       string
	Hostname string
	Model    string
	Arch     string // as Go names it: arm64, amd64
	Kernel   string
	OS       OS
}

// OS is the running system's part of /etc/os-release.
type OS struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	BuildID string `json:"build_id"`
}

// Reader reads from a root file system.
type Reader struct {
	root   fs.FS
	static Info // without the host name
	reset  Reset
}

// NewReader returns a reader of root; os.DirFS("/") is the device itself. What
// stays the same until the next boot is read here, so that requests read from
// /proc alone and never wait for a disk. The error lists what could not be
// read; the reader is good nevertheless.
func NewReader(root fs.FS) (*Reader, error) {
	r := &Reader{root: root}
	r.static = Info{Arch: runtime.GOARCH, Model: r.model()}
	var errs []error
	if raw, err := fs.ReadFile(root, "etc/machine-id"); err != nil {
		errs = append(errs, err)
	} else if r.static.ID, err = ID(string(raw)); err != nil {
		errs = append(errs, fmt.Errorf("etc/machine-id: %w", err))
	}
	var err error
	if r.static.Kernel, err = r.line("proc/sys/kernel/osrelease"); err != nil {
		errs = append(errs, err)
	}
	// os-release(5): /etc takes precedence.
	release, err := fs.ReadFile(root, "etc/os-release")
	if err != nil {
		release, err = fs.ReadFile(root, "usr/lib/os-release")
	}
	if err != nil {
		errs = append(errs, err)
	}
	r.static.OS = ParseOSRelease(release)
	if r.reset, err = readReset(root); err != nil {
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// Info returns the identity with the host name of now.
func (r *Reader) Info() (Info, error) {
	info := r.static
	var err error
	info.Hostname, err = r.line("proc/sys/kernel/hostname")
	return info, err
}

// ID derives the id of the device from the content of /etc/machine-id, by the
// algorithm of sd_id128_get_machine_app_specific(3): HMAC-SHA256 keyed with the
// machine id, cut to 128 bits, marked as UUID version 4. machine-id(5) forbids
// to expose the raw id. It fails when the machine id is not 32 lower case hex
// digits, which includes "uninitialized", or is all zero.
func ID(machineID string) (string, error) {
	machineID = strings.TrimSuffix(machineID, "\n")
	key, err := hex.DecodeString(machineID)
	if err != nil || len(key) != 16 || strings.ToLower(machineID) != machineID || bytes.Equal(key, make([]byte, 16)) {
		return "", errors.New("not a machine id (32 lower case hex digits, not all zero)")
	}
	app, err := hex.DecodeString(AppID)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(app)
	id := mac.Sum(nil)[:16]
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id), nil
}

// model is the name that the maker gave the hardware: the devicetree's model,
// or what the firmware's DMI table says.
func (r *Reader) model() string {
	for _, path := range []string{"proc/device-tree/model", "sys/class/dmi/id/product_name"} {
		if s, err := r.line(path); err == nil && s != "" {
			return s
		}
	}
	return ""
}

// line reads a one-line file. Devicetree strings end with NUL.
func (r *Reader) line(path string) (string, error) {
	b, err := fs.ReadFile(r.root, path)
	if err != nil {
		return "", err
	}
	return strings.ToValidUTF8(strings.Trim(string(b), "\x00\n\r\t "), "\uFFFD"), nil
}

// ParseOSRelease reads NAME, VERSION_ID (else VERSION) and BUILD_ID by the
// rules of os-release(5): shell-like assignments, of which the last one wins.
// Lines that it does not understand are skipped, as the manual asks.
func ParseOSRelease(data []byte) OS {
	values := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if value, ok = unquote(value); ok {
			values[key] = strings.ToValidUTF8(value, "\uFFFD")
		}
	}
	os := OS{Name: values["NAME"], Version: values["VERSION_ID"], BuildID: values["BUILD_ID"]}
	if os.Version == "" {
		os.Version = values["VERSION"]
	}
	return os
}

// unquote undoes the shell quoting that os-release(5) allows: none, single
// quotes, or double quotes with backslash before " $ \ and `.
func unquote(s string) (string, bool) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return s, !strings.ContainsAny(s, "\"' \t$`\\")
	}
	quote := s[0]
	if len(s) < 2 || s[len(s)-1] != quote {
		return "", false
	}
	s = s[1 : len(s)-1]
	if quote == '\'' {
		return s, !strings.Contains(s, "'")
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return "", false
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"$\\`", s[i+1]) >= 0:
			i++
		case s[i] == '\\' && i+1 == len(s):
			return "", false
		}
		b.WriteByte(s[i])
	}
	return b.String(), true
}
