package trace

import (
	"strings"
	"testing"
)

const valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestParseTraceparent(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		ok       bool
	}{
		{"valid", valid, true},
		{"not sampled", valid[:53] + "00", true},
		{"unknown flags", valid[:53] + "ff", true},
		{"later version", "01" + valid[2:], true},
		{"later version with more fields", "01" + valid[2:] + "-what-ever", true},
		{"later version with a longer flags field", "01" + valid[2:] + "0", false},
		{"version 00 with more fields", valid + "-00", false},
		{"version ff", "ff" + valid[2:], false},
		{"upper case", strings.ToUpper(valid), false},
		{"zero trace id", "00-" + strings.Repeat("0", 32) + valid[35:], false},
		{"zero parent id", valid[:36] + strings.Repeat("0", 16) + valid[52:], false},
		{"not hex", "00-g" + valid[4:], false},
		{"flags not hex", valid[:54] + "x", false},
		{"short", valid[:54], false},
		{"other separator", strings.Replace(valid, "-", "_", 1), false},
		{"empty", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := ParseTraceparent(tc.in)
			if ok := err == nil; ok != tc.ok {
				t.Fatalf("ParseTraceparent(%q) = %+v, %v; want ok=%v", tc.in, p, err, tc.ok)
			}
			if tc.ok && (p.TraceID != valid[3:35] || p.SpanID != valid[36:52]) {
				t.Errorf("ids = %q, %q", p.TraceID, p.SpanID)
			}
		})
	}
}

func TestChildKeepsTraceAndSampling(t *testing.T) {
	p, err := ParseTraceparent(valid)
	if err != nil {
		t.Fatal(err)
	}
	c := p.Child()
	if c.TraceID != p.TraceID || !c.Sampled || c.SpanID == p.SpanID {
		t.Errorf("Child of %+v = %+v", p, c)
	}
	if n := New(); n.TraceID == New().TraceID || n.Sampled {
		t.Errorf("New = %+v", n)
	}
}

func TestValidRequestID(t *testing.T) {
	for in, want := range map[string]bool{
		"a": true, "A.b_c-9": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a\n": false, "ä": false, `"`: false,
	} {
		if got := ValidRequestID(in); got != want {
			t.Errorf("ValidRequestID(%q) = %v", in, got)
		}
	}
	if id := NewRequestID(); !ValidRequestID(id) || id == NewRequestID() {
		t.Errorf("NewRequestID = %q", id)
	}
}

func FuzzParseTraceparent(f *testing.F) {
	f.Add(valid)
	f.Add("01" + valid[2:] + "-x")
	f.Add("ff")
	f.Fuzz(func(t *testing.T, in string) {
		p, err := ParseTraceparent(in)
		if err != nil {
			return
		}
		again, err := ParseTraceparent(p.String())
		if err != nil || again != p {
			t.Errorf("%q gives %+v, whose header %q gives %+v, %v", in, p, p.String(), again, err)
		}
	})
}

func FuzzValidRequestID(f *testing.F) {
	f.Add("abc")
	f.Add("a\r\nX: y")
	f.Fuzz(func(t *testing.T, in string) {
		if ValidRequestID(in) && (len(in) == 0 || len(in) > MaxRequestID || strings.ContainsAny(in, " \t\r\n\"\\\x00;,")) {
			t.Errorf("accepted %q", in)
		}
	})
}
