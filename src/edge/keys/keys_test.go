package keys

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
)

func TestKeys(t *testing.T) {
	var (
		d      time.Duration
		n      int
		b      bool
		s      string
		list   []string
		secret edge.Secret
	)
	short := func(s string) error {
		if len(s) > 3 {
			return errors.New("too long")
		}
		return nil
	}
	names := Items{Low: 1, High: 2, One: "a name", Many: "names", Example: "x"}
	upper := func(s string) (string, error) { return strings.ToUpper(s), short(s) }
	for _, tc := range []struct {
		key   edge.Key
		value any
		toml  string // "": it is refused
		err   string
	}{
		{Duration("d", &d, time.Second, time.Hour), "45m", `"45m"`, ""},
		{Duration("d", &d, time.Second, time.Hour), "1h", `"1h"`, ""},
		{Duration("d", &d, time.Second, time.Hour), "2h", "", `"2h" is out of range: 1s to 1h`},
		{Duration("d", &d, time.Second, time.Hour), "soon", "", `"soon" is not a duration like "5s" or "1m30s"`},
		{Duration("d", &d, time.Second, time.Hour), int64(5), "", `must be a duration as a string, like "5s" or "1m30s", not an integer`},
		{Integer("n", &n, -1, 5), int64(-1), "-1", ""},
		{Integer("n", &n, -1, 5), int64(6), "", "6 is out of range: -1 to 5"},
		{Integer("n", &n, -1, 5), true, "", "must be an integer, not a boolean"},
		{Boolean("b", &b), true, "true", ""},
		{Boolean("b", &b), "true", "", "must be true or false, not a string"},
		{Choice("s", &s, "a", "b"), "b", `"b"`, ""},
		{Choice("s", &s, "a", "b"), "c", "", `"c" is not one of a, b`},
		{Text("t", &s, short), "\"\n", `"\"\n"`, ""},
		{Text("t", &s, short), "long", "", "too long"},
		{Text("t", &s, short), OtherType("a table"), "", "must be a string, not a table"},
		{Texts("l", &list, names, upper), []any{"a", "b"}, `["A", "B"]`, ""},
		{Texts("l", &list, names, upper), []any{"a", "A"}, "", `"A" is there twice`},
		{Texts("l", &list, names, upper), []any{}, "", "has 0 names; 1 to 2 are allowed"},
		{Texts("l", &list, names, upper), []any{int64(1)}, "", `must be a name as a string, like "x", not an integer`},
		{Texts("l", &list, names, upper), "a", "", `must be an array of names, like ["x"], not a string`},
		{Texts("l", &list, names, upper), []any{"long"}, "", "too long"},
		{Secret("p", &secret, 4), "abc", `"abc"`, ""},
		{Secret("p", &secret, 4), "abcde", "", "is longer than 4 bytes"},
		{Secret("p", &secret, 4), int64(12345), "", "must be a string"},
	} {
		before := tc.key.Format()
		err := tc.key.Set(tc.value)
		if tc.err != "" {
			if err == nil || err.Error() != tc.err || tc.key.Format() != before {
				t.Errorf("%s = %v: error %v, want %s; it is %s", tc.key.Name, tc.value, err, tc.err, tc.key.Format())
			}
			continue
		}
		if err != nil || tc.key.Format() != tc.toml {
			t.Errorf("%s = %v: %v, %s, want %s", tc.key.Name, tc.value, err, tc.key.Format(), tc.toml)
		}
	}
}

func TestQuoteIsShort(t *testing.T) {
	if got := Quote(strings.Repeat("ä", 500)); len(got) > 80 || !strings.HasSuffix(got, `"…`) {
		t.Error(got)
	}
}
