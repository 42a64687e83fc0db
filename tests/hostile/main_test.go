// Package hostile attacks the service from outside, as a client without
// credentials can. Each attack is a test and a row of the table that the run
// prints: what the service held, how it served others meanwhile, and how it came
// back.
//
//	go test ./hostile -target=process
//	go test ./hostile -target=process -set=full -timeout 1h
//	go test ./hostile -target=try -timeout 1h
//
// Against a process it makes a network and a cgroup of its own, which needs root;
// what cannot be checked without is said.
package hostile

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/service"
)

func TestMain(m *testing.M) {
	if os.Getenv(yardstickVariable) != "" {
		fmt.Fprintln(os.Stderr, beYardstick())
		os.Exit(1)
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if list := flag.Lookup("test.list"); *targetFlag == "" || list != nil && list.Value.String() != "" {
		return m.Run()
	}
	kind, _, _ := strings.Cut(*targetFlag, ":")
	if *targetFlag != "process" && kind != "try" && *targetFlag != "image" || *setFlag != "short" && *setFlag != "full" {
		fmt.Fprintln(os.Stderr, "-target is process, try, try:ARCH or image, -set is short or full; see -help")
		return 2
	}
	if *reloads < 0 || *restarts < 0 || *clients < 0 || *clients%len(habits) != 0 {
		fmt.Fprintf(os.Stderr, "-reloads, -restarts and -clients are not negative, and -clients is a multiple of %d\n", len(habits))
		return 2
	}
	if os.Getenv(insideVariable) == "" {
		status, err := outside(m)
		if err != nil {
			fmt.Fprintf(os.Stderr, "hostile: %v\n", err)
			return 1
		}
		return status
	}
	// Inside: the network is our own.
	folder = os.Getenv(insideVariable)
	if err := prepareNetwork(); err != nil {
		fmt.Fprintf(os.Stderr, "hostile: %v\n", err)
		return 1
	}
	return attackAll(m)
}

// outside makes the folder and the binary, and runs the tests again in a network
// and a tree of mounts of their own, where that is possible.
func outside(m *testing.M) (int, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return 0, err
	}
	runs := filepath.Join(cache, "gin-edge", "hostile")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return 0, err
	}
	if folder, err = os.MkdirTemp(runs, time.Now().Format("20060102-150405-")); err != nil {
		return 0, err
	}
	fmt.Printf("hostile: target %s, set %s; results and logs: %s\n", *targetFlag, *setFlag, folder)
	if *targetFlag != "process" {
		return attackAll(m), nil
	}
	if daemon == "" {
		// Here, where modules can be fetched.
		if *binaryFlag != "" {
			daemon = must(filepath.Abs(*binaryFlag))
		} else if daemon, err = service.Build(root, folder); err != nil {
			return 0, err
		}
	}
	if os.Geteuid() != 0 {
		unchecked("not root: no network, no data partition and no cgroup of its own; sources are addresses of 127.0.0.0/8, the daemon has no memory limit")
		return attackAll(m), nil
	}
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Env = append(os.Environ(), insideVariable+"="+folder, binaryVariable+"="+daemon)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	err = again.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}

// attackAll runs the tests and tells what they have found.
func attackAll(m *testing.M) int {
	address, stop, err := startYardstick()
	if err != nil {
		fmt.Fprintf(os.Stderr, "hostile: %v\n", err)
		return 1
	}
	defer stop()
	yardstick = address
	status := m.Run()
	printTable(os.Stdout)
	if err := writeResults(filepath.Join(folder, "results.json")); err != nil {
		fmt.Fprintf(os.Stderr, "hostile: %v\n", err)
		return 1
	}
	return status
}
