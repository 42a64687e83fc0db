package edged

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
)

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	for path, content := range map[string]string{good: "log.level = \"warn\"\n", bad: "log.levle = \"warn\"\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"-version", 0, fmt.Sprintf("gin-edged devel (%s %s/%s)\n", runtime.Version(), runtime.GOOS, runtime.GOARCH), ""},
		{"-help", 0, "-check-config", ""},
		{"-check-config -config " + good + " -config " + good, 0, "configuration is valid: " + good + ", " + good + "\n", ""},
		{"-check-config -config " + bad, 1, "", bad + ":1: key log.levle: unknown key; did you mean log.level?"},
		{"-check-config -config " + dir + "/missing", 1, "", "no such file"},
		{"-print-config -config " + good, 0, "level = \"warn\"", ""},
		{"-config " + bad, 1, "", bad + ":1: key log.levle"},
		{"-nope", 2, "", "-nope"},
		{"nope", 2, "", `unexpected argument "nope"`},
		{"-config", 2, "", "-config"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := service{Product: edge.Product{Name: "gin-edged", Version: version}}.run(strings.Fields(tc.args), &stdout, &stderr)
			if code != tc.code || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) ||
				tc.stdout == "" && stdout.Len() > 0 || tc.stderr == "" && stderr.Len() > 0 {
				t.Errorf("exit %d\nstdout %q\nstderr %q", code, &stdout, &stderr)
			}
		})
	}
}
