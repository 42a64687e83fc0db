package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ipv6Settings holds a folder of settings for each interface, and "all".
const ipv6Settings = "/proc/sys/net/ipv6/conf"

// HasIPv6 tells whether the kernel speaks IPv6. It does not where it was built
// without, or started with ipv6.disable=1; a module is loaded by the question.
func HasIPv6() bool {
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		_ = syscall.Close(fd)
	}
	return !errors.Is(err, syscall.EAFNOSUPPORT)
}

// IPv6IsOff tells whether TurnOffIPv6 has been at work since the boot.
func IPv6IsOff() bool {
	fixed, err := readOnly(ipv6Settings)
	return err == nil && fixed && checkIPv6Off(ipv6Settings) == nil
}

func readOnly(folder string) (bool, error) {
	var at syscall.Statfs_t
	if err := syscall.Statfs(folder, &at); err != nil {
		return false, fmt.Errorf("statfs %s: %w", folder, err)
	}
	const flag = 1 // ST_RDONLY of statfs(2)
	return at.Flags&flag != 0, nil
}

// TurnOffIPv6 keeps IPv6 off on all interfaces but lo, those to come included,
// until the next boot.
//
// The setting disable_ipv6 alone would not last: systemd-networkd,
// NetworkManager and ConnMan take it back for each interface that they
// configure. So nobody can write to the settings afterwards.
func TurnOffIPv6() error {
	fixed, err := readOnly(ipv6Settings)
	if err == nil && !fixed {
		err = turnOffIPv6()
	}
	if err != nil {
		return err
	}
	return checkIPv6Off(ipv6Settings)
}

func turnOffIPv6() error {
	// "all" sets it for each interface, and for those to come.
	settings := []struct{ name, value string }{{"all", "1"}, {"lo", "0"}}
	files := make([]*os.File, len(settings))
	for i, setting := range settings {
		file, err := os.OpenFile(filepath.Join(ipv6Settings, setting.name, "disable_ipv6"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		files[i] = file
	}
	if err := syscall.Mount(ipv6Settings, ipv6Settings, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", ipv6Settings, err)
	}
	const flags = syscall.MS_BIND | syscall.MS_REMOUNT | syscall.MS_RDONLY | syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	if err := syscall.Mount("", ipv6Settings, "", flags, ""); err != nil {
		return fmt.Errorf("mount %s read-only: %w", ipv6Settings, err)
	}
	// Opened before, so that they are the last ones who can: no manager comes
	// between.
	for i, setting := range settings {
		if _, err := files[i].WriteString(setting.value); err != nil {
			return err
		}
	}
	return nil
}

// checkIPv6Off names an interface that still speaks IPv6.
func checkIPv6Off(settings string) error {
	interfaces, err := os.ReadDir(settings)
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		file := filepath.Join(settings, i.Name(), "disable_ipv6")
		value, err := os.ReadFile(file)
		switch {
		case i.Name() == "lo" || errors.Is(err, fs.ErrNotExist): // the latter has gone meanwhile
		case err != nil:
			return err
		case strings.TrimSpace(string(value)) != "1":
			return fmt.Errorf("%s is %q", file, strings.TrimSpace(string(value)))
		}
	}
	return nil
}
