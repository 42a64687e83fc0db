// Package keys makes the keys of a table of the configuration. Each leads to a
// field. Limits keep a slip of the pen from turning a protection off, so there is
// no key without one.
package keys

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
)

// Duration is a length of time from low to high, in a file a string like "1m30s".
func Duration(name string, value *time.Duration, low, high time.Duration) edge.Key {
	return edge.Key{
		Name: name,
		Set: func(v any) error {
			s, ok := v.(string)
			if !ok {
				return WrongType(v, `a duration as a string, like "5s" or "1m30s"`)
			}
			d, err := time.ParseDuration(s)
			if err != nil {
				return fmt.Errorf(`%s is not a duration like "5s" or "1m30s"`, Quote(s))
			}
			if d < low || d > high {
				return fmt.Errorf("%s is out of range: %s to %s", Quote(s), FormatDuration(low), FormatDuration(high))
			}
			*value = d
			return nil
		},
		Format: func() string { return strconv.Quote(FormatDuration(*value)) },
	}
}

// Integer is a whole number from low to high.
func Integer(name string, value *int, low, high int) edge.Key {
	return edge.Key{
		Name: name,
		Set: func(v any) error {
			n, ok := v.(int64)
			if !ok {
				return WrongType(v, "an integer")
			}
			if n < int64(low) || n > int64(high) {
				return fmt.Errorf("%d is out of range: %d to %d", n, low, high)
			}
			*value = int(n)
			return nil
		},
		Format: func() string { return strconv.Itoa(*value) },
	}
}

// Boolean is true or false.
func Boolean(name string, value *bool) edge.Key {
	return edge.Key{
		Name: name,
		Set: func(v any) error {
			b, ok := v.(bool)
			if !ok {
				return WrongType(v, "true or false")
			}
			*value = b
			return nil
		},
		Format: func() string { return strconv.FormatBool(*value) },
	}
}

// Choice is one of some strings.
func Choice(name string, value *string, choices ...string) edge.Key {
	return Text(name, value, func(s string) error {
		if !slices.Contains(choices, s) {
			return fmt.Errorf("%s is not one of %s", Quote(s), strings.Join(choices, ", "))
		}
		return nil
	})
}

// Text is a string that check accepts.
func Text(name string, value *string, check func(string) error) edge.Key {
	return edge.Key{
		Name: name,
		Set: func(v any) error {
			s, ok := v.(string)
			if !ok {
				return WrongType(v, "a string")
			}
			if err := check(s); err != nil {
				return err
			}
			*value = s
			return nil
		},
		Format: func() string { return strconv.Quote(*value) },
	}
}

// Secret is a string of up to longest bytes that is never shown. Messages about
// it must not show it either, so there is no check of its text.
func Secret(name string, value *edge.Secret, longest int) edge.Key {
	return edge.Key{
		Name: name,
		Set: func(v any) error {
			s, ok := v.(string)
			if !ok {
				return errors.New("must be a string")
			}
			if len(s) > longest {
				return fmt.Errorf("is longer than %d bytes", longest)
			}
			*value = edge.Secret(s)
			return nil
		},
		Format: func() string { return strconv.Quote(string(*value)) },
		Secret: true,
	}
}

// Items says what a list is made of.
type Items struct {
	Low, High int    // how many there may be
	One, Many string // their name, like "an address" and "addresses"
	Example   string
}

// Texts is a list of strings, none of them twice. read returns each as it is
// kept, or what is wrong with it.
func Texts(name string, value *[]string, items Items, read func(string) (string, error)) edge.Key {
	return edge.Key{
		Name: name,
		Set: func(v any) error {
			texts, err := items.Read(v)
			if err != nil {
				return err
			}
			list := make([]string, 0, len(texts))
			for _, s := range texts {
				kept, err := read(s)
				if err != nil {
					return err
				}
				if slices.Contains(list, kept) {
					return fmt.Errorf("%s is there twice", Quote(kept))
				}
				list = append(list, kept)
			}
			*value = list
			return nil
		},
		Format: func() string { return FormatStrings(*value) },
	}
}

// Read returns the strings of a list.
func (i Items) Read(value any) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, WrongType(value, fmt.Sprintf("an array of %s, like [%q]", i.Many, i.Example))
	}
	if len(list) < i.Low || len(list) > i.High {
		return nil, fmt.Errorf("has %d %s; %d to %d are allowed", len(list), i.Many, i.Low, i.High)
	}
	texts := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, WrongType(v, fmt.Sprintf("%s as a string, like %q", i.One, i.Example))
		}
		texts = append(texts, s)
	}
	return texts, nil
}

// FormatStrings writes a list as TOML.
func FormatStrings(list []string) string {
	quoted := make([]string, 0, len(list))
	for _, s := range list {
		quoted = append(quoted, strconv.Quote(s))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// FormatDuration is Duration.String without the "0s" after whole minutes and
// the "0m" after whole hours.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Quote is a value in a message: one line, and no longer than one can read.
func Quote(s string) string {
	const most = 64
	if len(s) <= most {
		return strconv.Quote(s)
	}
	return strconv.Quote(strings.ToValidUTF8(s[:most], "")) + "…"
}

// OtherType is a value of a TOML type that no key takes; its text names it.
type OtherType string

// WrongType is the error for a value of another type than a key wants.
func WrongType(value any, want string) error {
	got := "this kind of value"
	switch value.(type) {
	case string:
		got = "a string"
	case int64:
		got = "an integer"
	case bool:
		got = "a boolean"
	case []any:
		got = "an array"
	case OtherType:
		got = fmt.Sprint(value)
	}
	return errors.New("must be " + want + ", not " + got)
}
