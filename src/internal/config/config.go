// Package config reads the strict TOML configuration: layers that are merged key
// by key, a later one over an earlier. An unknown key, a wrong type or a value
// out of range is an error that names file, line and key. It knows files; the
// tables and what is in them belong to their owners.
package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

// Table is one table of the configuration.
type Table struct {
	Name string               // "server", or "x.name"
	New  func() edge.Settings // a new value with the defaults
}

// Config is the effective configuration.
type Config struct {
	// Sources are the files that were read, in order.
	Sources []string
	// Skipped are those that a start has passed over.
	Skipped []Skipped
	// Warnings are about what is accepted and should be changed. Each names its
	// file and the remedy.
	Warnings []string

	declared []Table
	tables   []table
	read     []document
	origin   map[string]place // key → where it was set
	copies   []keptCopy
}

type table struct {
	name   string
	values edge.Settings
	keys   []edge.Key // of values
}

type place struct {
	file string
	line int
}

// document is what was merged.
type document struct {
	file string
	data []byte
}

// Default returns the values that hold when no file sets a key.
func Default(tables []Table) *Config {
	c := &Config{declared: tables, origin: map[string]place{}}
	for _, t := range tables {
		values := t.New()
		c.tables = append(c.tables, table{t.Name, values, values.Keys()})
	}
	return c
}

// clone returns a copy that can be merged into.
func (c *Config) clone() *Config {
	next := Default(c.declared)
	for _, d := range c.read {
		if err := next.Merge(d.file, d.data); err != nil {
			panic(err) // it has been merged before
		}
	}
	next.Sources, next.Skipped = append([]string(nil), c.Sources...), append([]Skipped(nil), c.Skipped...)
	next.Warnings, next.copies = append([]string(nil), c.Warnings...), append([]keptCopy(nil), c.copies...)
	return next
}

// Of returns the values of the table whose settings are of type T. They must not
// be changed.
func Of[T edge.Settings](c *Config) T {
	values, ok := find[T](c)
	if !ok {
		panic(fmt.Sprintf("config: there is no table of type %T", values))
	}
	return values
}

func find[T edge.Settings](c *Config) (values T, ok bool) {
	for _, t := range c.tables {
		if values, ok = t.values.(T); ok {
			return values, true
		}
	}
	return values, false
}

// Values returns those of a table, nil when there is no such table.
func (c *Config) Values(name string) edge.Settings {
	for _, t := range c.tables {
		if t.name == name {
			return t.values
		}
	}
	return nil
}

// dataPartition is where the layers so far say that it is mounted.
func (c *Config) dataPartition() string {
	if s, ok := find[*storage.Settings](c); ok {
		return s.Data
	}
	return ""
}

// key finds a key by its whole name.
func (c *Config) key(name string) *edge.Key {
	for _, t := range c.tables {
		rest, ok := strings.CutPrefix(name, t.name+".")
		for i := range t.keys {
			if ok && t.keys[i].Name == rest {
				return &t.keys[i]
			}
		}
	}
	return nil
}

// names are those of all keys, in the order of the documentation.
func (c *Config) names() []string {
	var names []string
	for _, t := range c.tables {
		for _, k := range t.keys {
			names = append(names, t.name+"."+k.Name)
		}
	}
	return names
}

// Origin returns the file that set the key, or "" when it has its default.
func (c *Config) Origin(key string) string { return c.origin[key].file }

// consistent finds values that are good each and not together. The error names
// the place of one of them.
func (c *Config) consistent() error {
	for _, t := range c.tables {
		err := t.values.Check()
		if err == nil {
			continue
		}
		var about *edge.KeyError
		if !errors.As(err, &about) || len(about.Keys) == 0 {
			return fmt.Errorf("table [%s]: %w", t.name, err)
		}
		for _, name := range about.Keys {
			if at, ok := c.origin[t.name+"."+name]; ok {
				return fmt.Errorf("%s:%d: key %s.%s: %w", at.file, at.line, t.name, name, err)
			}
		}
		return fmt.Errorf("key %s.%s, by default: %w", t.name, about.Keys[0], err)
	}
	return nil
}

// TOML returns the configuration as a file that Load reads back to the same
// values, but for secrets, which are left out. A comment names the origin of each
// value.
func (c *Config) TOML() string {
	var b strings.Builder
	for i, t := range c.tables {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "[%s]\n", t.name)
		for _, k := range t.keys {
			origin := c.Origin(t.name + "." + k.Name)
			switch {
			case !k.Secret:
				fmt.Fprintf(&b, "%s = %s", k.Name, k.Format())
			case origin == "":
				fmt.Fprintf(&b, "# %s is secret and not set", k.Name)
			default:
				fmt.Fprintf(&b, "# %s is secret and set", k.Name)
			}
			if origin == "" {
				origin = "default"
			}
			fmt.Fprintf(&b, "  # %s\n", strconv.Quote(origin))
		}
	}
	return b.String()
}
