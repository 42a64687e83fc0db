// Package blackbox tests gin-edged from outside: one suite for a process on
// this machine, a guest, or any address.
package blackbox

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/tests/service"
)

var (
	targetFlag = flag.String("target", "process",
		"what to test: process, try, try:arm64, try:amd64, image, or http://ADDRESS")
	bootArgs   = flag.String("boot-args", "", "further `arguments` for scripts/try or scripts/boot, separated by spaces")
	productDir = flag.String("product", "", "the `folder` of a product whose service takes the place of gin-edged, as scripts/new-product makes it")
	production = flag.Bool("production", false, "the image lets nobody log in on its serial line: test that, and skip what needs a login")
)

// root is the checkout; tests run in their package's folder.
var root = must(filepath.Abs("../.."))

var (
	target  *Target
	program service.Program // what runs at the target
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (status int) {
	// -list only names the tests.
	if list := flag.Lookup("test.list"); list != nil && list.Value.String() != "" {
		return m.Run()
	}
	var err error
	if program, err = service.Find(root, *productDir); err != nil {
		fmt.Fprintf(os.Stderr, "target %s: %v\n", *targetFlag, err)
		return 1
	}
	if target, err = start(*targetFlag); err != nil {
		fmt.Fprintf(os.Stderr, "target %s: %v\n", *targetFlag, err)
		return 1
	}
	defer func() {
		if err := target.stop(); err != nil {
			fmt.Fprintf(os.Stderr, "target %s: stop: %v\n", *targetFlag, err)
			status = 1
		}
	}()
	return m.Run()
}

func start(name string) (*Target, error) {
	if *production && name != "image" {
		return nil, errors.New("-production goes with -target=image")
	}
	kind, variant, _ := strings.Cut(name, ":")
	switch {
	case name == "process":
		return startProcess()
	case kind == "try":
		var args []string
		if variant != "" {
			args = append(args, "--arch", variant)
		}
		if *productDir != "" {
			args = append(args, "--product", *productDir)
		}
		return startGuest(kind, "scripts/try", args...)
	case name == "image":
		return startGuest(kind, "scripts/boot")
	case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
		return &Target{kind: "address", url: strings.TrimRight(name, "/"),
			uncontrolled: "an address alone gives no control over the service", stop: func() error { return nil }}, nil
	}
	return nil, errors.New("unknown target; see -help")
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
