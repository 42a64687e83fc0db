package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/meta-gin-edge/meta-gin-edge/tests/vm"
)

// Kit is what a guest was started with: enough to start another disk with it.
type Kit struct {
	Arch, Kernel, Initrd, Line string
	Memory                     int // MB

	Base string // the disk image that nobody writes to
	Size int64  // of the disk that the guest sees, in bytes

	run *Run
}

// Kit takes it from what scripts/boot has written down. The RAM disk, which
// scripts/try removes when it ends, is copied to the file initrd.
func (m *Machine) Kit(initrd string) (*Kit, error) {
	boot, err := vm.ReadRun(filepath.Join(m.Dir, "run.json"))
	if err != nil {
		return nil, err
	}
	k := &Kit{Arch: boot.Arch, Kernel: boot.Kernel, Line: boot.Append, Memory: boot.Memory, Base: boot.Disk, Size: boot.DiskBytes, run: m.run}
	if boot.Initrd != "" {
		k.Initrd = initrd
		content, err := os.ReadFile(boot.Initrd)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(k.Initrd, content, 0o600); err != nil {
			return nil, err
		}
	}
	if k.Kernel == "" || k.Memory == 0 || k.Base == "" || k.Size == 0 {
		return nil, fmt.Errorf("run.json of %s does not say what it was started with: %+v", m.Dir, *k)
	}
	return k, nil
}

// Start boots the kit with a disk image. The machine owns the image.
func (k *Kit) Start(name, disk string, args ...string) (*Machine, error) {
	args = append(args, "--arch", k.Arch, "--kernel", k.Kernel, "--append", k.Line, "--memory", strconv.Itoa(k.Memory), "--disk", disk)
	if k.Initrd != "" {
		args = append(args, "--initrd", k.Initrd)
	}
	return k.run.Start(name, disk, "scripts/boot", args...)
}
