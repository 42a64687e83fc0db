package vm

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

func TestEnds(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.2.77"), netip.MustParseAddr("10.0.2.15")
	for name, tc := range map[string]struct {
		frame    string
		from, to netip.Addr
	}{
		"ARP":       {strings.Repeat("00", 12) + "0806" + "0001080006040001" + "525500000001" + "0a00024d" + "000000000000" + "0a00020f", a, b},
		"IPv4":      {strings.Repeat("00", 12) + "0800" + "450000140000000040060000" + "0a00024d" + "0a00020f", a, b},
		"IPv6":      {strings.Repeat("00", 12) + "86dd" + strings.Repeat("00", 40), netip.Addr{}, netip.Addr{}},
		"short ARP": {strings.Repeat("00", 12) + "0806" + "0001080006040001", netip.Addr{}, netip.Addr{}},
		"short":     {"00", netip.Addr{}, netip.Addr{}},
	} {
		frame, err := hex.DecodeString(tc.frame)
		if err != nil {
			t.Fatal(err)
		}
		if from, to := ends(frame); from != tc.from || to != tc.to {
			t.Errorf("%s: from %v to %v", name, from, to)
		}
	}
}

func TestFrames(t *testing.T) {
	var wire bytes.Buffer
	for _, frame := range []string{"first", "", "second"} {
		if err := writeFrame(&wire, []byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"first", "", "second"} {
		if frame, err := readFrame(&wire); err != nil || string(frame) != want {
			t.Errorf("%q, %v", frame, err)
		}
	}
	if _, err := readFrame(strings.NewReader("\xff\xff\xff\xff")); err == nil {
		t.Error("a frame of 4 GiB is read")
	}
}
