package firewall

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// timeout is for all commands of one family, and again for closing it; each
// takes a fraction of a second, or waits for another program's lock.
const timeout = 30 * time.Second

// Families are those that a kernel may have.
var Families = []Family{V4, V6}

// Host is the device that the rules are for.
type Host struct {
	Run         Runner
	HasIPv6     func() bool
	TurnOffIPv6 func() error
	IPv6IsOff   func() bool
}

// ThisHost is the device that the program runs on.
var ThisHost = Host{Command, HasIPv6, TurnOffIPv6, IPv6IsOff}

// Fate is what became of the rules of a family.
type Fate string

// The fates.
const (
	InForce Fate = "in force"
	Absent  Fate = "absent"     // the kernel does not speak it, or was told not to
	Closed  Fate = "closed"     // refused: all that comes in is dropped
	Failed  Fate = "not closed" // nor could it be closed
)

// Result is what became of one family.
type Result struct {
	Family Family
	Fate   Fate
	Err    error // why it is not in force
}

// Enforce puts the rules of each family that the kernel has into force. A
// family whose rules are refused is closed, and the other is not touched by
// that. With the reason why there are no openings (a declaration that cannot
// be read) both are closed.
func Enforce(host Host, openings []Opening, reason error) []Result {
	results := make([]Result, 0, len(Families))
	for _, family := range Families {
		results = append(results, host.enforce(family, openings, reason))
	}
	return results
}

func (h Host) enforce(family Family, openings []Opening, reason error) Result {
	if family.v6 && !h.HasIPv6() {
		return Result{family, Absent, errors.New("the kernel does not have it")}
	}
	if reason == nil {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		err := Apply(ctx, h.Run, family, openings)
		if err == nil {
			return Result{family, InForce, nil}
		}
		reason = fmt.Errorf("load the %s rules: %w", family.Name, err)
	}
	// What failed may have used up its time.
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := Close(ctx, h.Run, family)
	if err == nil {
		return Result{family, Closed, reason}
	}
	if family.v6 {
		off := h.TurnOffIPv6()
		if off == nil && errors.Is(err, exec.ErrNotFound) {
			return Result{family, Absent, errors.New("turned off until the next boot, since there is no " + family.Tool + " to filter it: " +
				"give the image the distro feature ipv6, or the kernel's command line ipv6.disable=1")}
		}
		if off == nil {
			return Result{family, Closed, fmt.Errorf("%w; IPv6 is turned off until the next boot", reason)}
		}
		err = fmt.Errorf("%w; turn IPv6 off: %w", err, off)
	}
	return Result{family, Failed, fmt.Errorf("%w; close %s: %w", reason, family.Name, err)}
}

// Show returns the kernel's filter table of the family with its counters, as
// `iptables -v -S` has it. The error tells in what it is not as declared.
func Show(host Host, family Family, openings []Opening) (string, error) {
	if family.v6 && !host.HasIPv6() {
		return "# the kernel does not have it\n", nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	rules, err := tool(ctx, host.Run, family, "-v", "-S")
	if errors.Is(err, exec.ErrNotFound) && family.v6 && host.IPv6IsOff() {
		return "# turned off until the next boot\n", nil
	}
	if err != nil {
		return "", err
	}
	return rules, check(ctx, host.Run, family, openings)
}
