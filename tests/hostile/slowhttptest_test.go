package hostile

import "testing"

func TestParseSlow(t *testing.T) {
	const text = "Seconds,Closed,Pending,Connected,Service Available\n0,0,1,0,600\n1,19,1,280,0\n2,30,0,260,600\n"
	r, err := parseSlow(text)
	if want := (slowResult{seconds: 2, available: 2, connected: 280, closed: 30}); err != nil || r != want {
		t.Errorf("%+v, %v, want %+v", r, err, want)
	}
	for _, bad := range []string{"", "Seconds,Closed\n", "a,b,c,d,e\n", "Seconds,Closed,Pending,Connected,Service Available\n0,0,x,0,1\n"} {
		if r, err := parseSlow(bad); err == nil {
			t.Errorf("%q: %+v", bad, r)
		}
	}
}
