package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/guest"
)

// degradedLimit is how long the service may take to notice its data partition:
// it looks every 10 s.
const degradedLimit = 90 * time.Second

// wantData waits until /readyz tells of the data partition as it is, and still
// answers 200. good is whether it is as expected.
func (m *machine) wantData(t *testing.T, r *result, good bool) {
	t.Helper()
	last, told := "", false
	limit := time.Now().Add(degradedLimit)
	for ; ; time.Sleep(500 * time.Millisecond) {
		var ready guest.Report
		code, err := m.Get("/readyz", time.Minute, &ready)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range m.Status(t).Health.Checks {
			if c.Name == "data" {
				told, last = true, fmt.Sprintf("%d %s: data: %v %s", code, ready.Status, c.OK, c.Detail)
				if code == http.StatusOK && c.OK == good && (ready.Status == "ok") == good {
					if !good {
						r.cause = ready.Status + ": " + c.Detail
					}
					return
				}
			}
		}
		if !told {
			r.unchecked(t, "the status has no check of the data partition")
			return
		}
		if s := m.Status(t).Data; s != nil && s.State == "none" {
			r.unchecked(t, "/readyz: no storage.data in the configuration of the service")
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("/readyz: %s, want it good: %v", last, good)
		}
	}
}

func (m *machine) wantServed(t *testing.T) {
	t.Helper()
	if code, err := m.Get("/livez", time.Minute, nil); err != nil || code != http.StatusOK {
		t.Errorf("/livez: %d, %v", code, err)
	}
}

func TestDataFull(t *testing.T) {
	r := begin(t, "data partition full", "fallocate")
	m := running(t)
	m.Run(t, "mountpoint -q /data")
	// What is reserved for root goes, too; the last bytes with dd.
	m.Run(t, `a=$(df -k /data | awk 'END { print $4 }'); fallocate -l ${a}KiB /data/fill 2>/dev/null; dd if=/dev/zero of=/data/fill2 bs=64k 2>/dev/null; sync`)
	m.wantServed(t)
	m.wantData(t, r, false)
	// A reload has nothing to write and goes on working.
	m.Run(t, "systemctl reload "+daemon)
	m.Run(t, "systemctl restart "+daemon)
	m.wantServed(t)
	if r.cause == "" {
		r.cause = "served"
	}
	m.Run(t, "rm -f /data/fill /data/fill2; sync")
	m.wantData(t, r, true)
	m.WantHealthy(t)
}

// An error of the file system makes it read-only; the next boot repairs it.
func TestDataReadOnly(t *testing.T) {
	inFull(t)
	r := begin(t, "data partition read-only", "file system error")
	m := running(t)
	m.Run(t, `d=$(basename "$(readlink -f /dev/disk/by-partlabel/data)"); echo fault >/sys/fs/ext4/$d/trigger_fs_error`)
	guest.Eventually(t, time.Minute, "/data to be read-only", func() bool {
		_, status := m.Try(t, "touch /data/w 2>/dev/null")
		return status != 0
	})
	m.wantServed(t)
	m.wantData(t, r, false)
	finding := r.cause
	back := m.Reset(t, 3*time.Minute, func() { m.Later(t, "systemctl reboot") })
	// The cause cannot be kept on a disk that cannot be written.
	r.note(t, m, back, "reboot", "power-loss")
	r.cause = finding + "; next boot: " + r.cause
	m.Run(t, "touch /data/w && rm /data/w")
	m.wantData(t, r, true)
	m.WantHealthy(t)
}

// A card with its lock set, or one that has worn out.
func TestDiskReadOnly(t *testing.T) {
	inFull(t)
	r := begin(t, "disk read-only", "from power-on")
	m := damaged(t, r, "read-only", func(*os.File, Partition) error { return nil }, "--read-only")
	if output, status := m.Try(t, "cat /run/gin-edge-boot/data; touch /data/w"); status == 0 {
		t.Errorf("/data can be written: the fault is none: %s", output)
	}
	m.wantServed(t)
	m.wantData(t, r, false)
}

func TestFactoryReset(t *testing.T) {
	inFull(t)
	r := begin(t, "factory reset", "gin-edge-data factory-reset")
	m := running(t)
	id := m.Run(t, "cat /etc/machine-id; touch /data/mine; sync")
	back := m.Reset(t, 3*time.Minute, func() { m.Later(t, "/usr/libexec/gin-edge/gin-edge-data factory-reset") })
	r.note(t, m, back, "first-boot", "reboot")
	if output, status := m.Try(t, "test ! -e /data/mine && mountpoint -q /data"); status != 0 {
		t.Errorf("what was on the data partition is still there, or it is not mounted: %s", output)
	}
	if did := m.Run(t, "cat /run/gin-edge-boot/data"); !strings.Contains(did, "factory reset") {
		t.Errorf("gin-edge-data says %q, nothing of a factory reset", did)
	}
	t.Logf("the machine id was %s, is %s", id, m.Run(t, "cat /etc/machine-id"))
	m.WantHealthy(t)
}

// damaged boots the recorded disk after damage to its data partition, and
// returns the guest with root logged in.
func damaged(t *testing.T, r *result, name string, damage func(disk *os.File, data Partition) error, args ...string) *machine {
	t.Helper()
	rec := needRecording(t)
	image, _ := rec.disk(t, name, len(rec.log.Entries), *seedFlag)
	disk, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	partitions, err := readPartitions(disk)
	if err != nil {
		t.Fatal(err)
	}
	var data Partition
	for _, p := range partitions {
		if p.Name == "data" {
			data = p
		}
	}
	if data.Length == 0 {
		t.Fatal("the recorded disk has no data partition")
	}
	if err := damage(disk, data); err != nil {
		t.Fatal(err)
	}
	m, err := startKit(rec.kit, name, image, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.End(t.Failed()) })
	r.took = fmt.Sprintf("boot %.1f s", m.Boot.Seconds())
	m.Login(t)
	return m
}

func TestDataCorrupt(t *testing.T) {
	inFull(t)
	for _, c := range []struct {
		name, damage string
		apply        func(disk *os.File, data Partition, random *rand.Rand) error
	}{
		{"super-block", "its first 64 KiB", func(disk *os.File, data Partition, random *rand.Rand) error {
			return scribble(disk, data.Offset, 64<<10, random)
		}},
		{"blocks", "300 random blocks", func(disk *os.File, data Partition, random *rand.Rand) error {
			for range 300 {
				if err := scribble(disk, data.Offset+random.Int64N(data.Length>>12)<<12, 4096, random); err != nil {
					return err
				}
			}
			return nil
		}},
		{"all", "all of it", func(disk *os.File, data Partition, random *rand.Rand) error {
			return scribble(disk, data.Offset, data.Length, random)
		}},
		{"table", "the partition table", func(disk *os.File, _ Partition, random *rand.Rand) error {
			return scribble(disk, diskSector, 33*diskSector, random)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := begin(t, "data partition corrupt", c.damage)
			m := damaged(t, r, "corrupt-"+c.name, func(disk *os.File, data Partition) error {
				return c.apply(disk, data, rand.New(rand.NewPCG(*seedFlag, 1)))
			})
			m.Run(t, "mountpoint -q /data && touch /data/t && rm /data/t")
			r.cause = strings.ReplaceAll(m.Run(t, "cat /run/gin-edge-boot/data"), "\n", "; ")
			if r.cause == "" && c.name != "table" {
				t.Error("gin-edge-data does not say what it did")
			}
			m.wantData(t, r, true)
			m.WantHealthy(t)
		})
	}
}

func scribble(disk *os.File, offset, length int64, random *rand.Rand) error {
	block := make([]byte, 4096)
	for length > 0 {
		for n := range block {
			block[n] = byte(random.Uint32())
		}
		n, err := disk.WriteAt(block[:min(length, int64(len(block)))], offset)
		if err != nil {
			return err
		}
		offset, length = offset+int64(n), length-int64(n)
	}
	return nil
}

// A card that is larger than the image: the data partition takes the rest.
func TestDataGrows(t *testing.T) {
	inFull(t)
	r := begin(t, "disk grows", "64 MiB more")
	var before int64
	m := damaged(t, r, "grow", func(disk *os.File, data Partition) error {
		before = data.Length
		info, err := disk.Stat()
		if err != nil {
			return err
		}
		return disk.Truncate(info.Size() + 64<<20)
	})
	r.cause = strings.ReplaceAll(m.Run(t, "cat /run/gin-edge-boot/data"), "\n", "; ")
	sectors := m.Number(t, `cat /sys/class/block/$(basename "$(readlink -f /dev/disk/by-partlabel/data)")/size`)
	if grown := int64(sectors)*diskSector - before; grown < 60<<20 {
		t.Errorf("the partition has grown by %d bytes", grown)
	}
	if kib := m.Number(t, "df -k /data | awk 'END { print $2 }'"); int64(kib)<<10 < before {
		t.Errorf("the file system has %v KiB, the partition had %d", kib, before>>10)
	}
	m.WantHealthy(t)
}

// No data partition, and no room for one: served, degraded.
func TestDataMissing(t *testing.T) {
	inFull(t)
	r := begin(t, "data partition missing", "no room on the disk")
	rec := needRecording(t)
	image := filepath.Join(folder, "missing.raw")
	disk, err := copySparse(rec.kit.Base, 0, image)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := takeRoom(disk); err != nil {
		t.Fatal(err)
	}
	m, err := startKit(rec.kit, "missing", image)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { m.End(t.Failed()) }()
	r.took = fmt.Sprintf("boot %.1f s", m.Boot.Seconds())
	m.Login(t)
	if _, status := m.Try(t, "mountpoint -q /data"); status == 0 {
		t.Error("/data is mounted: the fault is none")
	}
	m.wantServed(t)
	m.wantData(t, r, false)
	state, _ := m.Try(t, "systemctl is-system-running --wait; systemctl --failed --no-legend --plain --no-pager | cut -d' ' -f1")
	if r.cause != "" {
		r.cause += "; "
	}
	r.cause += "systemd: " + strings.ReplaceAll(state, "\n", " ")
	for _, unit := range []string{daemon, "gin-edge-firewall.service", "gin-edge-reset-cause.service"} {
		if active := m.Run(t, "systemctl show -P ActiveState "+unit); active != "active" {
			t.Errorf("%s is %s", unit, active)
		}
	}
}
