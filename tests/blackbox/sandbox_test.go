package blackbox

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unitFile is the unit as the recipe ships it.
const unitFile = "meta-gin-edge/recipes-gin-edge/gin-edge/files/gin-edged.service"

// directive is the value of the only line NAME= of the unit.
func directive(t *testing.T, name string) string {
	t.Helper()
	var values []string
	for line := range strings.Lines(string(must(os.ReadFile(filepath.Join(root, unitFile))))) {
		if value, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), name+"="); ok {
			values = append(values, value)
		}
	}
	if len(values) != 1 {
		t.Fatalf("%s: %d lines %s=", unitFile, len(values), name)
	}
	return values[0]
}

// amount is the number that a directive says: 128, or 64M.
func amount(t *testing.T, name string) int64 {
	t.Helper()
	text, mega := strings.CutSuffix(directive(t, name), "M")
	value := must(strconv.ParseInt(text, 10, 64))
	if mega {
		value <<= 20
	}
	return value
}

// allLimits are what the unit declares, and the service has to find.
var allLimits = strings.Fields("seccomp no_new_privs capabilities mount_namespace user_namespace uts_namespace memory_high memory_max tasks_max")

// What the unit declares is in force, by the service's own words: on a
// production image nobody else can look.
func TestSandbox(t *testing.T) {
	if target.serialLog == "" {
		t.Skipf("target %s: only a guest runs the service in its unit", target.kind)
	}
	s := status(t).Sandbox
	for _, missing := range s.Missing {
		t.Errorf("%s is missing: %s", missing.Limit, missing.Remedy)
	}
	if !slices.Equal(s.Declared, allLimits) {
		t.Errorf("declared: %q", s.Declared)
	}
	if s.Seccomp != "filter" || !s.NoNewPrivs || s.Capabilities != "0000000000000000" {
		t.Errorf("seccomp %s, no_new_privs %v, capabilities %s", s.Seccomp, s.NoNewPrivs, s.Capabilities)
	}
	for _, name := range []string{"mount", "user", "uts"} {
		if !slices.Contains(s.Namespaces, name) {
			t.Errorf("no %s namespace of its own, only %v", name, s.Namespaces)
		}
	}
	for name, value := range map[string]*int64{"MemoryHigh": s.MemoryHighBytes, "MemoryMax": s.MemoryMaxBytes, "TasksMax": s.TasksMax} {
		switch want := amount(t, name); {
		case value == nil:
			t.Errorf("%s=%d is not in force", name, want)
		case *value != want:
			t.Errorf("%s is %d, want %d", name, *value, want)
		}
	}
}

// The same, read by root beside the service: its own words are true.
func TestSandboxFromOutside(t *testing.T) {
	g := needGuest(t)
	pid := itoa(g.PID(t))
	fields := map[string]string{}
	for line := range strings.Lines(g.Run(t, "cat /proc/"+pid+"/status")) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.TrimSpace(value)
	}
	for key, want := range map[string]string{"Seccomp": "2", "NoNewPrivs": "1"} {
		if fields[key] != want {
			t.Errorf("%s: %q, want %s", key, fields[key], want)
		}
	}
	for _, key := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if fields[key] != "0000000000000000" {
			t.Errorf("%s: %q, want none", key, fields[key])
		}
	}
	for _, kind := range []string{"mnt", "user", "uts"} {
		own, first := g.Run(t, "readlink /proc/"+pid+"/ns/"+kind), g.Run(t, "readlink /proc/1/ns/"+kind)
		if own == first || !strings.HasPrefix(own, kind+":[") {
			t.Errorf("namespace %s of the service is %s, that of systemd %s", kind, own, first)
		}
	}
	group := "/sys/fs/cgroup" + strings.TrimPrefix(g.Run(t, "grep ^0:: /proc/"+pid+"/cgroup"), "0::")
	for file, name := range map[string]string{"memory.high": "MemoryHigh", "memory.max": "MemoryMax", "pids.max": "TasksMax"} {
		if got, want := g.Run(t, "cat "+group+"/"+file), strconv.FormatInt(amount(t, name), 10); got != want {
			t.Errorf("%s/%s is %s, %s= says %s", group, file, got, name, want)
		}
	}
	// What a compromised service could do with links to the files of others.
	if got := g.Run(t, "cat /proc/sys/fs/protected_hardlinks /proc/sys/fs/protected_symlinks"); got != "1\n1" {
		t.Errorf("protected_hardlinks and protected_symlinks are %q", got)
	}
}

// A service that has lost its limits says which, and what helps.
func TestLostSandboxIsTold(t *testing.T) {
	g := needGuest(t)
	// Takes from the unit what an image without libseccomp and a kernel without
	// memory controller take from it.
	withoutSandbox := "/run/systemd/system/" + *unitFlag + ".d/90-blackbox.conf"
	restart := func() {
		g.Run(t, "systemctl daemon-reload; systemctl restart "+*unitFlag)
	}
	g.Run(t, "mkdir -p "+filepath.Dir(withoutSandbox))
	t.Cleanup(func() {
		g.Run(t, "rm -f "+withoutSandbox)
		restart()
		if missing := status(t).Sandbox.Missing; len(missing) > 0 {
			t.Errorf("missing with the whole unit again: %+v", missing)
		}
	})
	// All that becomes a filter of system calls, and NoNewPrivileges=, which
	// several of them imply.
	lines := []string{"[Service]", "SystemCallFilter=", "SystemCallArchitectures=", "RestrictAddressFamilies=",
		"MemoryHigh=infinity", "MemoryMax=infinity"}
	for _, name := range strings.Fields("NoNewPrivileges LockPersonality MemoryDenyWriteExecute PrivateDevices ProtectClock ProtectHostname " +
		"ProtectKernelLogs ProtectKernelModules ProtectKernelTunables RestrictNamespaces RestrictRealtime RestrictSUIDSGID") {
		lines = append(lines, name+"=no")
	}
	g.Run(t, ": >"+withoutSandbox)
	for chunk := range slices.Chunk(lines, 6) {
		g.Run(t, "printf '%s\\n' "+strings.Join(chunk, " ")+" >>"+withoutSandbox)
	}
	restart()

	remedies := map[string]string{}
	for _, missing := range status(t).Sandbox.Missing {
		remedies[missing.Limit] = missing.Remedy
		if !g.logged(t, missing.Limit+" is declared for this service and not in force: "+missing.Remedy) {
			t.Errorf("the log does not tell of %s", missing.Limit)
		}
	}
	want := strings.Fields("memory_high memory_max no_new_privs seccomp uts_namespace")
	if got := slices.Sorted(maps.Keys(remedies)); !slices.Equal(got, want) {
		t.Errorf("missing: %v, want %v", got, want)
	}
	if !strings.Contains(remedies["seccomp"], "libseccomp is not in the image") {
		t.Errorf("remedy for seccomp: %s", remedies["seccomp"])
	}
}
