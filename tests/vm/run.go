package vm

import (
	"encoding/json"
	"fmt"
	"os"
)

// Run is run.json: what scripts/boot has started a guest with.
type Run struct {
	Machine, Arch, Accel, Kernel, Initrd, Append string
	Memory                                       int    `json:"memory_mb"`
	Disk                                         string // the image that nobody writes to
	DiskBytes                                    int64  `json:"disk_bytes"` // of the disk that the guest sees
	Overlay                                      string
	Ports                                        struct {
		Service int
		SSH     *int
	}
	QEMU []string // the command line that starts the like of it
}

// ReadRun reads it.
func ReadRun(file string) (*Run, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r Run
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &r, nil
}
