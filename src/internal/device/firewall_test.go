package device

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFirewall(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, FirewallFile)
	reader, _ := NewReader(os.DirFS(root))
	if f := reader.Firewall(); f != (Firewall{State: FirewallNone}) {
		t.Errorf("without a file: %+v", f)
	}
	for _, tc := range []struct{ in, want Firewall }{
		{Firewall{FirewallInForce, ""}, Firewall{FirewallInForce, ""}},
		{Firewall{FirewallClosed, "a.conf:1:\n\tno port\x1b \xff"}, Firewall{FirewallFailed, ""}},
		{Firewall{FirewallClosed, "a.conf:1:\n\tno port \xff"}, Firewall{FirewallClosed, "a.conf:1: no port ?"}},
	} {
		if err := tc.in.Write(file); err != nil {
			t.Fatal(err)
		}
		got := reader.Firewall()
		if got.State != tc.want.State || tc.want.State != FirewallFailed && got != tc.want {
			t.Errorf("%+v is read as %+v", tc.in, got)
		}
	}
	long := Firewall{FirewallFailed, strings.Repeat("<ö", 10000)}
	if err := long.Write(file); err != nil {
		t.Fatal(err)
	}
	if got := reader.Firewall(); got.State != FirewallFailed || !strings.HasPrefix(got.Detail, "<ö<ö") {
		t.Errorf("a long detail is read as %.80q", got)
	}
	if err := os.WriteFile(file, []byte(`{"state":"ajar"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := reader.Firewall(); got.State != FirewallFailed || !strings.Contains(got.Detail, FirewallFile+": state is not one of") {
		t.Errorf("a bad state is read as %+v", got)
	}
}

// A state that cannot be read is not one of a filter that is not in force.
func TestFirewallThatCannotBeRead(t *testing.T) {
	root := t.TempDir()
	if err := (Firewall{State: FirewallInForce}).Write(filepath.Join(root, FirewallFile)); err != nil {
		t.Fatal(err)
	}
	full := fullFS{os.DirFS(root)}
	reader, _ := NewReader(full)
	if got := reader.Firewall(); got.State != FirewallUnknown || !strings.Contains(got.Detail, "too many open files") {
		t.Errorf("%+v", got)
	}
	if _, err := ParseFirewall([]byte(`{"state":"unknown"}`)); err == nil {
		t.Error("a file says of itself that it cannot be read")
	}
}

// fullFS is of a process that has no file descriptor left.
type fullFS struct{ fs.FS }

func (fullFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
}

func FuzzParseFirewall(f *testing.F) {
	f.Add([]byte(`{"state":"closed","detail":"x"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := ParseFirewall(in)
		if err != nil {
			if got != (Firewall{}) {
				t.Fatalf("%+v with %v", got, err)
			}
			return
		}
		if got.State == FirewallNone || strings.ContainsAny(got.Detail, "\n\x1b") {
			t.Fatalf("%+v", got)
		}
	})
}
