package device

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
)

// SandboxVariable names the environment variable in which the unit declares the
// limits that it sets, as words of SandboxLimits. Who takes a limit out of the
// unit takes its word out of the variable.
const SandboxVariable = "GIN_EDGE_SANDBOX"

// cgroupRoot is where systemd mounts the unified hierarchy, below /.
const cgroupRoot = "sys/fs/cgroup"

// Sandbox is what confines this process as the kernel has it. systemd runs a
// unit without many of its limits, and says nothing, where the image or the
// kernel lacks something.
type Sandbox struct {
	Seccomp      string   `json:"seccomp"`      // off, strict or filter
	NoNewPrivs   bool     `json:"no_new_privs"` // execve(2) gives no privileges
	Capabilities string   `json:"capabilities"` // what it has or could get: 16 hex digits, or "" when that cannot be read
	Namespaces   []string `json:"namespaces"`   // of its own: cgroup, ipc, mount, pid, user, uts

	// Of the process's cgroup; nil without a limit.
	MemoryHighBytes *uint64 `json:"memory_high_bytes"`
	MemoryMaxBytes  *uint64 `json:"memory_max_bytes"`
	TasksMax        *uint64 `json:"tasks_max"`

	Declared []string       `json:"declared"`
	Missing  []MissingLimit `json:"missing"` // declared and not in force
}

// MissingLimit is a limit that the unit declares and the kernel does not have.
type MissingLimit struct {
	Limit  string `json:"limit"`
	Remedy string `json:"remedy"`
}

// What to do about limits that the kernel or the image lacks. Where the unit
// itself does not set one, a drop-in has taken it away.
const (
	lostInUnit    = "a drop-in takes it away, see systemctl cat with the unit's name; one that means to sets " + SandboxVariable + " without this word, too"
	lostSeccomp   = "libseccomp is not in the image, or the kernel lacks CONFIG_SECCOMP_FILTER; else " + lostInUnit
	lostMemory    = "the kernel has no memory controller for the service: kernel command line cgroup_enable=memory, or CONFIG_MEMCG; the device tree of a board may say cgroup_disable=memory"
	lostTasks     = "the kernel has no pids controller for the service: CONFIG_CGROUP_PIDS"
	lostNamespace = "the kernel lacks CONFIG_%s, or the service runs in a container that forbids it; else " + lostInUnit
)

// limit is one word of SandboxVariable.
type limit struct {
	word    string
	inForce func(Sandbox) bool
	remedy  func(read sandboxErrors) string
}

// sandboxErrors holds why a file of the cgroup could not be read, by its name.
type sandboxErrors map[string]error

var limits = []limit{
	{"seccomp", func(s Sandbox) bool { return s.Seccomp == "filter" }, always(lostSeccomp)},
	{"no_new_privs", func(s Sandbox) bool { return s.NoNewPrivs }, always(lostInUnit)},
	{"capabilities", func(s Sandbox) bool { return s.Capabilities == "0000000000000000" }, always(lostInUnit)},
	{"mount_namespace", hasNamespace("mount"), always(fmt.Sprintf(lostNamespace, "NAMESPACES"))},
	{"user_namespace", hasNamespace("user"), always(fmt.Sprintf(lostNamespace, "USER_NS"))},
	{"uts_namespace", hasNamespace("uts"), always(fmt.Sprintf(lostNamespace, "UTS_NS"))},
	{"memory_high", func(s Sandbox) bool { return s.MemoryHighBytes != nil }, without("memory.high", lostMemory)},
	{"memory_max", func(s Sandbox) bool { return s.MemoryMaxBytes != nil }, without("memory.max", lostMemory)},
	{"tasks_max", func(s Sandbox) bool { return s.TasksMax != nil }, without("pids.max", lostTasks)},
}

func always(text string) func(sandboxErrors) string {
	return func(sandboxErrors) string { return text }
}

// without tells a file that is not there from a limit that is not set.
func without(file, text string) func(sandboxErrors) string {
	return func(read sandboxErrors) string {
		if read[file] != nil {
			return text
		}
		return lostInUnit
	}
}

func hasNamespace(name string) func(Sandbox) bool {
	return func(s Sandbox) bool { return slices.Contains(s.Namespaces, name) }
}

// SandboxLimits returns the words that SandboxVariable may hold.
func SandboxLimits() []string {
	var words []string
	for _, l := range limits {
		words = append(words, l.word)
	}
	return words
}

// Sandbox reads what confines this process and compares it with what declared,
// the value of SandboxVariable, says. It reads from memory: /proc and the
// cgroups. The error lists what could not be read; what is declared and cannot
// be read counts as missing.
func (r *Reader) Sandbox(declared string) (Sandbox, error) {
	s := Sandbox{Seccomp: "off", Namespaces: []string{}, Declared: []string{}, Missing: []MissingLimit{}}
	var errs []error
	read := func(path string, parse func(string) error) error {
		data, err := fs.ReadFile(r.root, path)
		if err == nil {
			if err = parse(string(data)); err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
		return err
	}
	_ = read("proc/self/status", func(text string) (err error) {
		s.Seccomp, s.NoNewPrivs, s.Capabilities, err = ParseStatus(text)
		return err
	})
	for _, name := range []string{"cgroup", "ipc", "pid", "user", "uts"} {
		path := "proc/self/ns/" + name
		link, err := fs.ReadLink(r.root, path)
		if err == nil {
			var own bool
			if own, err = OwnNamespace(link); own {
				s.Namespaces = append(s.Namespaces, name)
			} else if err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // that kernel has none
			errs = append(errs, err)
		}
	}
	_ = read("proc/self/mountinfo", func(text string) error {
		own, err := OwnMounts(text)
		if own {
			s.Namespaces = append(s.Namespaces, "mount")
		}
		return err
	})
	slices.Sort(s.Namespaces)

	unread := sandboxErrors{}
	var group string
	err := read("proc/self/cgroup", func(text string) (err error) { group, err = ParseCgroup(text); return })
	for _, l := range []struct {
		file  string
		value **uint64
	}{{"memory.high", &s.MemoryHighBytes}, {"memory.max", &s.MemoryMaxBytes}, {"pids.max", &s.TasksMax}} {
		if unread[l.file] = err; err != nil {
			continue
		}
		path := cgroupRoot + group + "/" + l.file
		if _, unread[l.file] = fs.Stat(r.root, path); unread[l.file] == nil { // else the kernel has no such controller
			unread[l.file] = read(path, func(text string) (err error) { *l.value, err = ParseLimit(text); return })
		}
	}

	for _, word := range strings.Fields(strings.ToValidUTF8(declared, "?")) {
		s.Declared = append(s.Declared, word)
		i := slices.IndexFunc(limits, func(l limit) bool { return l.word == word })
		switch {
		case i < 0:
			s.Missing = append(s.Missing, MissingLimit{word, fmt.Sprintf("%s does not know this word; it knows %s", SandboxVariable, strings.Join(SandboxLimits(), ", "))})
		case !limits[i].inForce(s):
			s.Missing = append(s.Missing, MissingLimit{word, limits[i].remedy(unread)})
		}
	}
	return s, errors.Join(errs...)
}

// ParseStatus reads the lines Seccomp, NoNewPrivs and Cap… of
// proc_pid_status(5). capabilities is the union of the five sets. A kernel
// without seccomp has no line for it.
func ParseStatus(text string) (seccomp string, noNewPrivs bool, capabilities string, err error) {
	seccomp = "off"
	var all uint64
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Seccomp":
			mode, ok := map[string]string{"0": "off", "1": "strict", "2": "filter"}[value]
			if !ok {
				return "off", false, "", fmt.Errorf("field Seccomp: %q is no mode", value)
			}
			seccomp = mode
		case "NoNewPrivs":
			if value != "0" && value != "1" {
				return "off", false, "", fmt.Errorf("NoNewPrivs: %q is not 0 or 1", value)
			}
			noNewPrivs = value == "1"
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			set, err := strconv.ParseUint(value, 16, 64)
			if err != nil {
				return "off", false, "", fmt.Errorf("%s: %q is no set of capabilities", key, value)
			}
			all |= set
		default:
			continue
		}
		seen[key] = true
	}
	for _, key := range []string{"NoNewPrivs", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if !seen[key] {
			return "off", false, "", fmt.Errorf("no line %s", key)
		}
	}
	return seccomp, noNewPrivs, fmt.Sprintf("%016x", all), nil
}

// initialNamespaces are the inodes of the namespaces that the kernel starts
// with: the same on every Linux, include/uapi/linux/nsfs.h.
var initialNamespaces = map[string]uint64{
	"ipc": 0xEFFFFFFF, "uts": 0xEFFFFFFE, "user": 0xEFFFFFFD, "pid": 0xEFFFFFFC, "cgroup": 0xEFFFFFFB,
}

// OwnNamespace tells whether a link of /proc/self/ns, user:[4026531837] for
// one, leads to another namespace than the initial one.
func OwnNamespace(link string) (bool, error) {
	kind, rest, _ := strings.Cut(link, ":[")
	number, ok := strings.CutSuffix(rest, "]")
	inode, err := strconv.ParseUint(number, 10, 64)
	initial, known := initialNamespaces[kind]
	if !ok || err != nil || !known {
		return false, fmt.Errorf("%q is no namespace", link)
	}
	return inode != initial, nil
}

// OwnMounts tells from proc_pid_mountinfo(5) whether systemd has made a mount
// namespace for the process: there it makes the root a slave of the root
// outside (mount_namespaces(7)), which itself is nobody's. (The inode would not
// tell: that of the initial namespace has a fixed number from Linux 6.18 on
// only. Nor would /run/systemd/incoming: systemd 259 has it on kernels without
// the newer calls for mounts only.)
func OwnMounts(text string) (bool, error) {
	own, count := false, 0
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		end := slices.Index(fields, "-")
		if len(fields) < 7 || end < 6 {
			return false, fmt.Errorf("a line of %d fields", len(fields))
		}
		count++
		if fields[4] == "/" { // the last one is on top
			own = slices.ContainsFunc(fields[6:end], func(field string) bool { return strings.HasPrefix(field, "master:") })
		}
	}
	if count == 0 {
		return false, errors.New("empty")
	}
	return own, nil
}

// ParseCgroup returns the path in the unified hierarchy from proc_pid_cgroup
// (cgroups(7)): "" or one that begins with /.
func ParseCgroup(text string) (string, error) {
	for line := range strings.Lines(text) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		path = strings.TrimRight(path, "/")
		if path != "" && (path[0] != '/' || !fs.ValidPath(path[1:])) {
			return "", fmt.Errorf("%q is no path in the hierarchy", path)
		}
		return path, nil
	}
	return "", errors.New("no unified hierarchy (cgroup v2)")
}

// ParseLimit reads a limit of a cgroup: a number, or nil for "max".
func ParseLimit(text string) (*uint64, error) {
	text = strings.TrimSuffix(text, "\n")
	if text == "max" {
		return nil, nil
	}
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil || value > math.MaxInt64 { // what the API's numbers can hold
		return nil, fmt.Errorf("%q is no limit", text)
	}
	return &value, nil
}
