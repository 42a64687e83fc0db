package config

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
)

// Merge reads one TOML document over the values of c. file is named in errors:
// "FILE:LINE: key KEY: …". After an error c is undefined.
//
// The syntax and the rules about duplicate keys are go-toml's. The keys are
// then read from its parser's nodes, because only those know their lines.
func (c *Config) Merge(file string, data []byte) error {
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		return fmt.Errorf("%s:1: begins with a byte order mark (BOM): save it as UTF-8 without one", file)
	}
	var syntaxTree map[string]any
	if err := toml.Unmarshal(data, &syntaxTree); err != nil {
		var syntax *toml.DecodeError
		if !errors.As(err, &syntax) {
			return fmt.Errorf("%s: %s", file, shorten(err.Error(), maxMessage))
		}
		line, column := syntax.Position()
		at := fmt.Sprintf("%s:%d: column %d: ", file, line, column)
		if len(syntax.Key()) > 0 {
			at = fmt.Sprintf("%s:%d: key %s: ", file, line, joinKey(syntax.Key()))
		}
		return errors.New(at + shorten(strings.TrimPrefix(syntax.Error(), "toml: "), maxMessage))
	}
	m := merger{config: c, file: file}
	m.parser.Reset(data)
	if err := m.document(); err != nil {
		return err
	}
	c.Sources = append(c.Sources, file)
	c.read = append(c.read, document{file, data})
	return nil
}

// A message goes to systemd's STATUS, whose datagrams are 4096 bytes at most, to
// the journal and to the API. What a file says can be 256 KiB long.
const (
	maxMessage   = 512
	maxKeyLength = 128
)

// shorten cuts a text that is meant for people.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

type merger struct {
	config *Config
	file   string
	parser unstable.Parser
}

func (m *merger) document() error {
	var table []string
	for m.parser.NextExpression() {
		node := m.parser.Expression()
		var err error
		switch node.Kind {
		case unstable.Table:
			table = keyParts(node)
			if !m.config.isTable(joinKey(table)) {
				err = m.unknown(node, table)
			}
		case unstable.ArrayTable:
			err = m.fail(node, keyParts(node), errors.New("must be a single table: write it with one pair of brackets"))
		case unstable.KeyValue:
			err = m.keyValue(table, node)
		}
		if err != nil {
			return err
		}
	}
	if err := m.parser.Error(); err != nil {
		return fmt.Errorf("%s: %w", m.file, err)
	}
	return nil
}

func (m *merger) keyValue(table []string, node *unstable.Node) error {
	path := append(table[:len(table):len(table)], keyParts(node)...)
	name := joinKey(path)
	if m.config.isTable(name) {
		value := node.Value()
		if value.Kind != unstable.InlineTable {
			return m.fail(node, path, errors.New("must be a table"))
		}
		for it := value.Children(); it.Next(); {
			if err := m.keyValue(path, it.Node()); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range renamed {
		if r := &renamed[i]; r.old == name {
			m.warn(node, path, r)
			if r.now == "" {
				return nil
			}
			name = r.now
		}
	}
	if k := m.config.key(name); k != nil {
		value, err := convert(node.Value())
		if err == nil {
			err = k.Set(value)
		}
		if err != nil {
			return m.fail(node, path, err)
		}
		m.config.origin[name] = place{m.file, m.line(node)}
		return nil
	}
	return m.unknown(node, path)
}

func convert(node *unstable.Node) (any, error) {
	switch node.Kind {
	case unstable.String:
		return string(node.Data), nil
	case unstable.Integer:
		// Go's base 0 reads what TOML allows: 0x, 0o, 0b and underscores. A sign
		// and leading zeros are go-toml's to reject.
		n, err := strconv.ParseInt(string(node.Data), 0, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not a 64-bit integer", node.Data)
		}
		return n, nil
	case unstable.Array:
		list := []any{}
		for it := node.Children(); it.Next(); {
			v, err := convert(it.Node())
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case unstable.Bool:
		return string(node.Data) == "true", nil
	case unstable.Float:
		return keys.OtherType("a floating point number"), nil
	case unstable.InlineTable:
		return keys.OtherType("a table"), nil
	}
	return keys.OtherType("a date or time"), nil
}

// unknown suggests what is near, or else tells what there is.
func (m *merger) unknown(node *unstable.Node, path []string) error {
	name := joinKey(path)
	known := m.config.names()
	best, bestDistance := "", 4 // further away than three edits is no help
	for _, k := range known {
		if d := distance(name, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best != "" {
		return m.fail(node, path, fmt.Errorf("unknown key; did you mean %s?", best))
	}
	return m.fail(node, path, errors.New("unknown key; known keys are "+strings.Join(known, ", ")))
}

func (m *merger) fail(node *unstable.Node, path []string, err error) error {
	return fmt.Errorf("%s:%d: key %s: %w", m.file, m.line(node), joinKey(path), err)
}

func (m *merger) line(node *unstable.Node) int {
	for it := node.Key(); it.Next(); {
		return m.parser.Shape(it.Node().Raw).Start.Line
	}
	return 0
}

func (m *merger) warn(node *unstable.Node, path []string, r *renaming) {
	what := "is no longer used; remove it"
	if r.now != "" {
		what = "is now called " + r.now
	}
	if r.note != "" {
		what += ": " + r.note
	}
	m.config.Warnings = append(m.config.Warnings, fmt.Sprintf("%s:%d: key %s %s; the next release does not know it", m.file, m.line(node), joinKey(path), what))
}

func keyParts(node *unstable.Node) []string {
	var parts []string
	for it := node.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
	}
	return parts
}

// joinKey writes a key as TOML does: parts that are not bare are quoted, which
// also keeps control characters out of messages. A long one is cut: no known key
// is so long.
func joinKey(parts []string) string {
	quoted := make([]string, len(parts))
	for i, part := range parts {
		quoted[i] = part
		bare := part != "" && strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
		if !bare {
			quoted[i] = strconv.Quote(part)
		}
	}
	return shorten(strings.Join(quoted, "."), maxKeyLength)
}

// isTable takes the name of a table, and that of one that has others: x of x.name.
func (c *Config) isTable(name string) bool {
	for _, t := range c.tables {
		if t.name == name || strings.HasPrefix(t.name, name+".") {
			return true
		}
	}
	for i := range renamed {
		if table, _, _ := strings.Cut(renamed[i].old, "."); table == name {
			return true
		}
	}
	return false
}

// distance counts the edits between two keys: insertions, deletions,
// substitutions and swaps of neighbours (optimal string alignment).
func distance(a, b string) int {
	if len(a) > len(b)+3 {
		return len(a) - len(b)
	}
	var before []int
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current := make([]int, len(b)+1)
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous = previous, current
	}
	return previous[len(b)]
}
