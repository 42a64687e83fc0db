package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sfdisk makes and checks the tables.
func TestPartitions(t *testing.T) {
	sfdisk, err := exec.LookPath("sfdisk")
	if err != nil {
		sfdisk = "/usr/sbin/sfdisk"
	}
	if _, err := os.Stat(sfdisk); err != nil {
		t.Skip("sfdisk not found; on Debian: apt-get install fdisk")
	}
	for name, script := range map[string]string{
		"room at the end": "start=1MiB, size=4MiB, name=root-a\n",
		"with data":       "start=1MiB, size=4MiB, name=root-a\nsize=2MiB, name=data\n",
	} {
		t.Run(name, func(t *testing.T) {
			disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
			if err != nil {
				t.Fatal(err)
			}
			defer disk.Close()
			if err := disk.Truncate(16 << 20); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(sfdisk, "--quiet", "--label", "gpt", disk.Name())
			cmd.Stdin = strings.NewReader(script)
			if output, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("sfdisk: %v\n%s", err, output)
			}
			before, err := readPartitions(disk)
			if err != nil || len(before) != strings.Count(script, "\n") || before[0].Name != "root-a" ||
				before[0].Offset != 1<<20 || before[0].Length != 4<<20 {
				t.Fatalf("%+v, %v", before, err)
			}
			if err := takeRoom(disk); err != nil {
				t.Fatal(err)
			}
			after, err := readPartitions(disk)
			if err != nil || len(after) != 2 || after[0] != before[0] || after[1].Name != "other" {
				t.Fatalf("%+v, %v", after, err)
			}
			if len(before) == 2 && (after[1].Offset != before[1].Offset || after[1].Length != before[1].Length) {
				t.Errorf("data was %+v, other is %+v", before[1], after[1])
			}
			output, err := exec.Command(sfdisk, "--verify", disk.Name()).CombinedOutput()
			if err != nil || !strings.Contains(string(output), "No errors detected") {
				t.Errorf("sfdisk --verify: %v\n%s", err, output)
			}
			if len(before) == 1 {
				output, err := exec.Command(sfdisk, "--list-free", disk.Name()).CombinedOutput()
				if err != nil || !strings.Contains(string(output), "0 B, 0 bytes, 0 sectors") {
					t.Errorf("there is room left: %v\n%s", err, output)
				}
			}
		})
	}
}
