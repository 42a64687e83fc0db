package firewall

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// Runner runs a command with the input and returns its standard output; the
// error holds what it wrote to standard error.
type Runner func(ctx context.Context, input, name string, args ...string) (string, error)

// Command is the Runner of the real system.
func Command(ctx context.Context, input, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(string(exit.Stderr)), " "))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(out), nil
}

// Resolve asks systemd what the socket units of the declarations listen on,
// drop-ins included.
func Resolve(ctx context.Context, run Runner, declarations []Declaration) ([]Opening, error) {
	openings := make([]Opening, 0, len(declarations))
	for _, d := range declarations {
		o := Opening{Declaration: d}
		if d.Unit == "" {
			o.Listeners = []Listener{{Protocol: d.Protocol, Port: d.Port}}
		} else {
			out, err := run(ctx, "", "systemctl", "show", "--property=LoadState", "--property=Listen", d.Unit)
			if err == nil {
				o.Listeners, err = ParseShow(out)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: socket unit %s: %w", d.Origin, d.Unit, err)
			}
		}
		openings = append(openings, o)
	}
	return openings, nil
}

// Apply puts the rules of both families into force, each at once, and reads
// back that the kernel has them. When one fails the other may be in force:
// Close then.
func Apply(ctx context.Context, run Runner, openings []Opening) error {
	for _, family := range []Family{V4, V6} {
		if err := apply(ctx, run, family, openings); err != nil {
			return fmt.Errorf("load the %s rules: %w", family.Name, err)
		}
	}
	return nil
}

func apply(ctx context.Context, run Runner, family Family, openings []Opening) error {
	rules := Render(family, openings)
	if _, err := run(ctx, rules, family.Restore); err != nil {
		return explain(err, rules)
	}
	out, err := run(ctx, "", family.Save, "-S", "INPUT")
	if err != nil {
		return fmt.Errorf("read the rules back: %w", err)
	}
	if !strings.Contains(out, "-P INPUT DROP\n") || strings.Count(out, "\n-A INPUT ") != strings.Count(rules, "\n-A INPUT ") {
		return fmt.Errorf("the kernel does not have what was loaded; it has: %s", strings.Join(strings.Fields(out), " "))
	}
	return nil
}

// restoreLine is where iptables-restore says that it failed.
var restoreLine = regexp.MustCompile(`line:? (\d+)`)

// explain adds the rule that was refused: iptables-restore names its line.
func explain(err error, rules string) error {
	lines := strings.Split(rules, "\n")
	if m := restoreLine.FindStringSubmatch(err.Error()); m != nil {
		if n, convErr := strconv.Atoi(m[1]); convErr == nil && n >= 1 && n <= len(lines) {
			return fmt.Errorf("%w; the line is %q: does the kernel have what it needs? See gin-edge-firewall.cfg", err, lines[n-1])
		}
	}
	return err
}

// Close drops all that comes in but from the device itself. It needs nothing
// but the filter table.
func Close(ctx context.Context, run Runner) error {
	var errs []error
	for _, family := range []Family{V4, V6} {
		for _, args := range []string{"-P INPUT DROP", "-P FORWARD DROP", "-F INPUT", "-A INPUT -i lo -j ACCEPT"} {
			if _, err := run(ctx, "", family.Save, strings.Fields(args)...); err != nil {
				errs = append(errs, fmt.Errorf("close %s: %w", family.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}
