package firewall

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// table is what matters to us of a filter table.
type table struct {
	policy map[string]string // of INPUT, FORWARD and OUTPUT
	input  []string          // the rules of INPUT, ours and others'
	own    int               // rules in our chain
}

// parseTable reads what `iptables -S` printed.
func parseTable(text string) table {
	t := table{policy: map[string]string{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case len(words) == 3 && words[0] == "-P":
			t.policy[words[1]] = words[2]
		case strings.HasPrefix(line, "-A INPUT "):
			t.input = append(t.input, line)
		case strings.HasPrefix(line, "-A "+Chain+" "):
			t.own++
		}
	}
	return t
}

// jumps tells whether a rule of INPUT, ours or a product's, leads to our chain.
func jumps(rule string) bool {
	return strings.HasSuffix(rule, " -j "+Chain) || strings.HasSuffix(rule, " -g "+Chain)
}

// refusesAll is a rule behind which nothing arrives.
var refusesAll = regexp.MustCompile(`^-A INPUT (-m comment --comment ("(\\.|[^"\\])*"|\S+) )?-j (DROP|REJECT)( |$)`)

// jump returns the line that leads to our chain, "" where a rule does so: a
// product may have put it where it wants. It goes behind the rules of others,
// since these may drop what we would accept; but before one that refuses all.
func (t table) jump() string {
	for _, rule := range t.input {
		if jumps(rule) {
			return ""
		}
	}
	for i, rule := range t.input {
		if refusesAll.MatchString(rule) {
			return "-I INPUT " + strconv.Itoa(i+1) + " -j " + Chain + "\n"
		}
	}
	return lastJump + "\n"
}

// holds tells what the table lacks of the rendered rules.
func (t table) holds(rules string) error {
	for _, chain := range []string{"INPUT", "FORWARD"} {
		if t.policy[chain] != "DROP" {
			return fmt.Errorf("the policy of %s is %q", chain, t.policy[chain])
		}
	}
	if want := strings.Count(rules, "\n-A "+Chain+" "); t.own != want {
		return fmt.Errorf("%s has %d rules of %d", Chain, t.own, want)
	}
	if t.jump() != "" {
		return errors.New("INPUT does not lead to " + Chain)
	}
	return nil
}
