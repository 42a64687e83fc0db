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
// error holds what it wrote to standard error, and exec.ErrNotFound where there
// is no such command.
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

// tool runs iptables(8) of the family. Another program may be at the tables:
// it waits up to 10 seconds for its lock.
func tool(ctx context.Context, run Runner, family Family, args ...string) (string, error) {
	return run(ctx, "", family.Tool, append([]string{"-w", "10"}, args...)...)
}

// Apply puts the rules of the family into force, all at once, and reads back
// that the kernel has them. What else is in the tables stays. When it fails,
// what was in force before may still be: Close then.
func Apply(ctx context.Context, run Runner, family Family, openings []Opening) error {
	return replace(ctx, run, family, Render(family, openings))
}

// check tells whether the rules are in force.
func check(ctx context.Context, run Runner, family Family, openings []Opening) error {
	out, err := tool(ctx, run, family, "-S")
	if err != nil {
		return fmt.Errorf("read the rules: %w", err)
	}
	return parseTable(out).holds(Render(family, openings))
}

// Close drops all that comes in but from the device itself and what rules of
// others accept. It needs nothing but the filter table.
func Close(ctx context.Context, run Runner, family Family) error {
	var errs []error
	// First what cannot fail for the sake of a rule.
	for _, args := range []string{"-P INPUT DROP", "-P FORWARD DROP"} {
		if _, err := tool(ctx, run, family, strings.Fields(args)...); err != nil {
			errs = append(errs, err)
		}
	}
	if err := replace(ctx, run, family, renderChain(lastJump, nil)); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// replace loads rules that end in lastJump, but leaves a jump where it is when
// there is one.
func replace(ctx context.Context, run Runner, family Family, rules string) error {
	out, err := tool(ctx, run, family, "-S")
	if err != nil {
		return fmt.Errorf("read the rules that are there: %w", err)
	}
	before := parseTable(out)
	text := strings.Replace(rules, lastJump+"\n", before.jump(), 1)
	if _, err := run(ctx, text, family.Restore, "-w", "10", "--noflush"); err != nil {
		return explain(err, text)
	}
	if out, err = tool(ctx, run, family, "-S"); err != nil {
		return fmt.Errorf("read the rules back: %w", err)
	}
	if err := parseTable(out).holds(rules); err != nil {
		return fmt.Errorf("the kernel does not have what was loaded: %w; it has: %s", err, strings.Join(strings.Fields(out), " "))
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
			return fmt.Errorf("%w; the line is %q: does the kernel have what it needs? See the kernel fragment gin-edge-firewall.cfg", err, lines[n-1])
		}
	}
	return err
}
