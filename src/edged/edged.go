// Package edged is the command of a service: of gin-edged, and of a product that
// adds its own extension.
package edged

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/app"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
)

// version is set by the linker: -X …/src/edged.version=1.2.3
var version = "devel"

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2

	// closeTimeout is how long the end of the process waits for a slow journal.
	closeTimeout = 2 * time.Second
)

func init() {
	// The kernel gives a signal for the process to its first thread. That one must
	// never hang in a system call, on a medium that does not answer for one, or a
	// SIGTERM would wait for the medium. Locked, it runs this goroutine alone, and
	// that one does not use the disk.
	runtime.LockOSThread()
}

// Main is the whole main function of a service: flags, life and exit status. It
// does not return. A product calls it with what it is and what it adds:
//
//	func main() { edged.Main(edge.Product{Name: "acme-gateway"}, gateway.Extension()) }
//
// The exit status is 0 after a drain, 1 when the start was refused or the service
// broke, 2 for a wrong command line.
func Main(product edge.Product, extensions ...edge.Extension) {
	if product.Version == "" {
		product.Version = version
	}
	s := service{product, extensions}
	os.Exit(s.run(os.Args[1:], os.Stdout, os.Stderr))
}

type service struct {
	edge.Product
	extensions []edge.Extension
}

func (s service) run(args []string, stdout, stderr io.Writer) int {
	var named []config.Layer
	flags := flag.NewFlagSet(s.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	showVersion := flags.Bool("version", false, "print the version and exit")
	check := flags.Bool("check-config", false, "check the configuration and exit: 0 when it is valid, else 1")
	show := flags.Bool("print-config", false, "print the effective configuration as TOML and exit")
	flags.Func("config", "read `FILE` instead of the default files; may be repeated, a later file wins key by key", func(path string) error {
		named = append(named, config.Layer{Path: path})
		return nil
	})
	layers := config.DefaultLayers()
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "Usage: %s [options]\n\nServes the device API until SIGTERM; SIGHUP reloads the configuration.\n"+
			"Without -config it reads those of these files that exist, a later one wins:\n", s.Name)
		for _, layer := range layers {
			if layer.OnData {
				fmt.Fprintf(flags.Output(), "  DATA%s, where those above set storage.data to DATA\n", layer.Path)
				continue
			}
			fmt.Fprintf(flags.Output(), "  %s\n", layer.Path)
		}
		fmt.Fprintf(flags.Output(), "\nOptions:\n")
		flags.PrintDefaults()
	}
	for _, arg := range args {
		// Help that was asked for is output, not an error.
		if arg == "-h" || arg == "-help" || arg == "--help" {
			flags.SetOutput(stdout)
		}
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "%s: unexpected argument %q; see %s -help\n", s.Name, flags.Arg(0), s.Name)
		return exitUsage
	}
	if *showVersion {
		fmt.Fprintf(stdout, "%s %s (%s %s/%s)\n", s.Name, s.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return exitOK
	}
	if named != nil {
		layers = named
	}
	if *check || *show {
		tables, err := app.Tables(s.extensions)
		var cfg *config.Config
		if err == nil {
			cfg, err = config.Load(tables, layers)
		}
		switch {
		case err != nil:
			fmt.Fprintf(stderr, "%s: %v\n", s.Name, err)
			return exitFailure
		case *show:
			fmt.Fprint(stdout, cfg.TOML())
		case len(cfg.Sources) == 0:
			fmt.Fprintln(stdout, "configuration is valid: defaults, no file is there")
		default:
			fmt.Fprintf(stdout, "configuration is valid: %s\n", strings.Join(cfg.Sources, ", "))
		}
		return exitOK
	}
	return s.serve(layers, stderr)
}

func (s service) serve(layers []config.Layer, stderr io.Writer) int {
	// Before anything else: SIGHUP would end a process that is still starting.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	defer stop()

	logs := log.New()
	err := app.Run(ctx, app.Options{
		Layers:     layers,
		Product:    s.Product,
		Extensions: s.extensions,
		Log:        logs,
		Root:       os.DirFS("/"),
		Hangup:     hangup,
	})
	if err != nil && logs.Native() {
		logs.Log(log.Critical, err)
	}
	closeCtx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := logs.Close(closeCtx); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", s.Name, err)
	}
	if err == nil {
		return exitOK
	}
	if !logs.Native() {
		// For a person at a terminal: the line as it is, without logrus' quotes.
		fmt.Fprintf(stderr, "%s: %v\n", s.Name, err)
	}
	return exitFailure
}
