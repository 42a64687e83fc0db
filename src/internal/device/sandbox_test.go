package device

import (
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const confined = "Name:\tgin-edged\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" +
	"CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t12\n"

func link(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), Mode: fs.ModeSymlink} }

// sandboxRoot is the process in its unit, as the reference image runs it.
func sandboxRoot() fstest.MapFS {
	return fstest.MapFS{
		"proc/self/status":    file(confined),
		"proc/self/ns/cgroup": link("cgroup:[4026531835]"),
		"proc/self/ns/ipc":    link("ipc:[4026531839]"),
		"proc/self/ns/pid":    link("pid:[4026531836]"),
		"proc/self/ns/user":   link("user:[4026532301]"),
		"proc/self/ns/uts":    link("uts:[4026532300]"),
		"proc/self/mountinfo": file("1 0 253:1 / / rw - rootfs rootfs rw\n58 1 253:1 / / ro,relatime shared:85 master:1 - erofs /dev/vda1 ro\n"),
		"proc/self/cgroup":    file("0::/system.slice/gin-edged.service\n"),
		"sys/fs/cgroup/system.slice/gin-edged.service/memory.high": file("50331648\n"),
		"sys/fs/cgroup/system.slice/gin-edged.service/memory.max":  file("67108864\n"),
		"sys/fs/cgroup/system.slice/gin-edged.service/pids.max":    file("128\n"),
	}
}

func words() string { return strings.Join(SandboxLimits(), " ") }

func missing(s Sandbox) string {
	var all []string
	for _, m := range s.Missing {
		all = append(all, m.Limit)
	}
	return strings.Join(all, " ")
}

func TestSandbox(t *testing.T) {
	r, _ := NewReader(sandboxRoot())
	s, err := r.Sandbox(words())
	if err != nil || len(s.Missing) > 0 {
		t.Errorf("missing %+v, %v", s.Missing, err)
	}
	if s.Seccomp != "filter" || !s.NoNewPrivs || s.Capabilities != "0000000000000000" || strings.Join(s.Namespaces, " ") != "mount user uts" ||
		strings.Join(s.Declared, " ") != words() {
		t.Errorf("%+v", s)
	}
	if *s.MemoryHighBytes != 48<<20 || *s.MemoryMaxBytes != 64<<20 || *s.TasksMax != 128 {
		t.Errorf("memory %d and %d bytes, %d tasks", *s.MemoryHighBytes, *s.MemoryMaxBytes, *s.TasksMax)
	}
}

// Each way to lose a limit is found, and its remedy is the one that helps.
func TestSandboxMissing(t *testing.T) {
	const group = "sys/fs/cgroup/system.slice/gin-edged.service/"
	set := func(path, text string) func(fstest.MapFS) {
		return func(root fstest.MapFS) { root[path] = file(text) }
	}
	status := func(old, text string) func(fstest.MapFS) {
		return set("proc/self/status", strings.Replace(confined, old, text, 1))
	}
	without := func(paths ...string) func(fstest.MapFS) {
		return func(root fstest.MapFS) {
			for _, path := range paths {
				delete(root, path)
			}
		}
	}
	for name, tc := range map[string]struct {
		change  func(fstest.MapFS)
		missing string
		remedy  string // of the first
	}{
		"no libseccomp":         {status("Seccomp:\t2", "Seccomp:\t0"), "seccomp", "libseccomp is not in the image"},
		"kernel without":        {status("Seccomp:\t2\n", ""), "seccomp", "CONFIG_SECCOMP_FILTER"},
		"strict":                {status("Seccomp:\t2", "Seccomp:\t1"), "seccomp", "libseccomp"},
		"new privileges":        {status("NoNewPrivs:\t1", "NoNewPrivs:\t0"), "no_new_privs", "drop-in"},
		"a bounding set":        {status("CapBnd:\t0000000000000000", "CapBnd:\t0000000000000400"), "capabilities", "drop-in"},
		"status not readable":   {without("proc/self/status"), "seccomp no_new_privs capabilities", "libseccomp"},
		"no own mounts":         {set("proc/self/mountinfo", "58 57 253:1 / / ro shared:1 - erofs /dev/vda1 ro\n"), "mount_namespace", "container"},
		"no private users":      {func(root fstest.MapFS) { root["proc/self/ns/user"] = link("user:[4026531837]") }, "user_namespace", "CONFIG_USER_NS"},
		"no kernel for UTS":     {without("proc/self/ns/uts"), "uts_namespace", "CONFIG_UTS_NS"},
		"cgroup_disable=memory": {without(group+"memory.high", group+"memory.max"), "memory_high memory_max", "cgroup_enable=memory"},
		"MemoryMax=infinity":    {set(group+"memory.max", "max\n"), "memory_max", "drop-in"},
		"MemoryHigh=infinity":   {set(group+"memory.high", "max\n"), "memory_high", "drop-in"},
		"no pids controller":    {without(group + "pids.max"), "tasks_max", "CONFIG_CGROUP_PIDS"},
		"cgroup v1":             {set("proc/self/cgroup", "4:memory:/a\n1:name=systemd:/a\n"), "memory_high memory_max tasks_max", "cgroup_enable=memory"},
	} {
		root := sandboxRoot()
		tc.change(root)
		r, _ := NewReader(root)
		s, err := r.Sandbox(words())
		if name == "cgroup_disable=memory" && err != nil {
			t.Errorf("%s is no error of the reader: %v", name, err)
		}
		if got := missing(s); got != tc.missing || !strings.Contains(s.Missing[0].Remedy, tc.remedy) {
			t.Errorf("%s: missing %+v, want %s with %q", name, s.Missing, tc.missing, tc.remedy)
		}
		// Who declares nothing misses nothing; the facts are told all the same.
		undeclared, _ := r.Sandbox("")
		if len(undeclared.Missing) > 0 || undeclared.Missing == nil || undeclared.Declared == nil || undeclared.Seccomp != s.Seccomp {
			t.Errorf("%s: nothing declared: %+v", name, undeclared)
		}
	}
}

func TestSandboxUnknownWord(t *testing.T) {
	r, _ := NewReader(sandboxRoot())
	s, _ := r.Sandbox("seccomp secomp")
	if missing(s) != "secomp" || !strings.Contains(s.Missing[0].Remedy, "it knows seccomp, no_new_privs") {
		t.Errorf("%+v", s.Missing)
	}
}

func TestSandboxNamesWhatCannotBeRead(t *testing.T) {
	r, _ := NewReader(fstest.MapFS{})
	s, err := r.Sandbox(words())
	if missing(s) != words() || s.Seccomp != "off" || err == nil || !strings.Contains(err.Error(), "proc/self/mountinfo") {
		t.Errorf("%+v, %v", s, err)
	}
}

// The unit declares every limit that the service can look for.
func TestUnitDeclaresItsLimits(t *testing.T) {
	const name = "../../../meta-gin-edge/recipes-gin-edge/gin-edge/files/gin-edged.service"
	unit, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(unit), "\nEnvironment=\""+SandboxVariable+"=")
	value, _, _ := strings.Cut(rest, "\"\n")
	value = strings.ReplaceAll(value, "\\\n", " ")
	if got := strings.Fields(value); !found || !slices.Equal(got, SandboxLimits()) {
		t.Errorf("%s declares %v, want %v", name, got, SandboxLimits())
	}
}

// The real files of the machine that runs the test.
func TestSandboxOfThisMachine(t *testing.T) {
	r, _ := NewReader(os.DirFS("/"))
	s, err := r.Sandbox("")
	if err != nil {
		t.Logf("not readable here: %v", err) // a container may have other cgroups
	}
	if len(s.Capabilities) != 16 || !slices.Contains([]string{"off", "strict", "filter"}, s.Seccomp) {
		t.Errorf("%+v", s)
	}
}

func TestParseStatusRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"": "no line NoNewPrivs",
		strings.Replace(confined, "Seccomp:\t2", "Seccomp:\t3", 1):                                     "Seccomp",
		strings.Replace(confined, "NoNewPrivs:\t1", "NoNewPrivs:\tyes", 1):                             "NoNewPrivs",
		strings.Replace(confined, "CapEff:\t0000000000000000", "CapEff:\t0x0", 1):                      "CapEff",
		strings.Replace(confined, "CapAmb:\t0000000000000000\n", "", 1):                                "no line CapAmb",
		strings.Replace(confined, "CapBnd:\t0000000000000000", "CapBnd:\t"+strings.Repeat("f", 17), 1): "CapBnd",
	} {
		if seccomp, nnp, caps, err := ParseStatus(in); err == nil || !strings.Contains(err.Error(), want) || seccomp != "off" || nnp || caps != "" {
			t.Errorf("%q: %s %v %q, %v; want %q", in, seccomp, nnp, caps, err, want)
		}
	}
}

func TestParseCgroup(t *testing.T) {
	for in, want := range map[string]string{
		"0::/\n": "", "0::/a/b.service\n": "/a/b.service", "1:name=systemd:/x\n0::/a\n": "/a",
	} {
		if got, err := ParseCgroup(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "1:memory:/a\n", "0::/../b\n", "0::a\n", "0::/a//b\n"} {
		if got, err := ParseCgroup(in); err == nil {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func FuzzSandbox(f *testing.F) {
	root := sandboxRoot()
	f.Add(confined, "58 1 253:1 / / ro shared:85 master:1 - erofs /dev/vda1 ro\n", "0::/a\n", "max\n", "user:[4026531837]", "seccomp x")
	f.Add("Seccomp:2", "a b c d / f - g", "0::/..\n", "-1", "mnt:[", "")
	f.Fuzz(func(t *testing.T, status, mounts, group, value, namespace, declared string) {
		tree := maps.Clone(root)
		tree["proc/self/status"], tree["proc/self/mountinfo"], tree["proc/self/cgroup"] = file(status), file(mounts), file(group)
		tree["proc/self/ns/user"] = link(namespace)
		if path, err := ParseCgroup(group); err == nil {
			if !fs.ValidPath(cgroupRoot + path) {
				t.Fatalf("%q leads to %q", group, path)
			}
			tree[cgroupRoot+path+"/memory.max"] = file(value)
		}
		r, _ := NewReader(tree)
		s, _ := r.Sandbox(declared)
		// Nothing but what the kernel says counts as a limit.
		if s.Seccomp == "filter" && !strings.Contains(status, "2") || s.NoNewPrivs && !strings.Contains(status, "1") ||
			len(s.Capabilities) != 16 && s.Capabilities != "" || s.MemoryMaxBytes != nil && value == "max" {
			t.Fatalf("%+v", s)
		}
		if len(s.Declared) != len(strings.Fields(declared)) {
			t.Fatalf("%q is declared, %q is heard", declared, s.Declared)
		}
	})
}
