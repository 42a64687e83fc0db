package faults

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
)

func TestFrames(t *testing.T) {
	s := &scanner{
		guestMAC: net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}, mac: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		guest4: netip.MustParseAddr("10.0.2.15"), address4: netip.MustParseAddr("10.0.2.99"),
		guest6: netip.MustParseAddr("fe80::5054:ff:fe12:3456"), address6: netip.MustParseAddr("fe80::99"),
	}
	for _, v6 := range []bool{false, true} {
		for _, frame := range [][]byte{
			s.tcp(port{v6: v6, number: 80}, 40000, 7, tcpSYN),
			s.udp(port{v6: v6, number: 53}, 40000),
		} {
			body, pseudo := frame[ethernetLength+ipv4Length:], slices.Clone(frame[ethernetLength+12:ethernetLength+20])
			proto := frame[ethernetLength+9]
			if v6 {
				body, pseudo = frame[ethernetLength+ipv6Length:], slices.Clone(frame[ethernetLength+8:ethernetLength+40])
				proto = frame[ethernetLength+6]
			} else if checksum(frame[ethernetLength:ethernetLength+ipv4Length]) != 0 {
				t.Errorf("wrong header checksum: %s", hex.EncodeToString(frame))
			}
			pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(body)))
			pseudo = append(pseudo, 0, 0, 0, proto)
			if checksum(append(pseudo, body...)) != 0 {
				t.Errorf("wrong checksum: %s", hex.EncodeToString(frame))
			}
		}
	}
	// The example of RFC 1071, section 3.
	if sum := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); sum != ^uint16(0xddf2) {
		t.Errorf("checksum %#x", sum)
	}
}

// fakeGuest answers SYNs: 80 is open, 81 is closed, the others are silent.
func fakeGuest(t *testing.T, in io.Reader, out io.Writer) {
	swap := func(frame []byte, a, b, n int) {
		for k := range n {
			frame[a+k], frame[b+k] = frame[b+k], frame[a+k]
		}
	}
	for {
		var length [4]byte
		if _, err := io.ReadFull(in, length[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(in, frame); err != nil {
			return
		}
		swap(frame, 0, 6, 6)
		body := frame[ethernetLength:]
		switch binary.BigEndian.Uint16(frame[12:]) {
		case typeARP:
			if body[7] != 1 {
				continue
			}
			body[7] = 2
			swap(body, 8, 18, 10)
		case typeIPv4, typeIPv6:
			tcp := body[ipv4Length:]
			if body[0]>>4 == 6 {
				tcp = body[ipv6Length:]
				swap(body, 8, 24, 16)
			} else {
				swap(body, 12, 16, 4)
			}
			if tcp[13] != tcpSYN {
				continue
			}
			switch binary.BigEndian.Uint16(tcp[2:]) {
			case 80:
				tcp[13] = tcpSYN | tcpACK
			case 81:
				tcp[13] = tcpRST | tcpACK
			default:
				continue
			}
			swap(tcp, 0, 2, 2)
		}
		if _, err := out.Write(append(length[:], frame...)); err != nil {
			t.Error(err)
			return
		}
	}
}

func TestScan(t *testing.T) {
	in, guestIn := net.Pipe()
	out, guestOut := net.Pipe()
	go fakeGuest(t, guestIn, guestOut)
	s := startScanner(in, out, net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56},
		netip.MustParseAddr("10.0.2.15"), netip.MustParseAddr("fe80::5054:ff:fe12:3456"))
	var ports []port
	for number := range uint16(300) {
		ports = append(ports, port{false, protoTCP, number}, port{true, protoTCP, number})
	}
	answers, err := s.scan(ports, 40000)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, a := range answers {
		kinds[a.String()] = a.kind
	}
	if len(kinds) != 4 || kinds["tcp/80 over IPv4"] != answerOpen || kinds["tcp/80 over IPv6"] != answerOpen ||
		kinds["tcp/81 over IPv4"] != answerClosed || kinds["tcp/81 over IPv6"] != answerClosed {
		t.Errorf("%v", kinds)
	}
	_ = guestIn.Close()
	_ = guestOut.Close()
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func FuzzReceive(f *testing.F) {
	s := &scanner{
		guestMAC: make(net.HardwareAddr, 6), mac: make(net.HardwareAddr, 6),
		guest4: netip.MustParseAddr("10.0.2.99"), address4: netip.MustParseAddr("10.0.2.99"),
		guest6: netip.MustParseAddr("fe80::99"), address6: netip.MustParseAddr("fe80::99"),
		frames: make(chan []byte), more: make(chan struct{}, 1),
	}
	for _, v6 := range []bool{false, true} {
		f.Add(s.tcp(port{v6: v6, number: 80}, 40000, 7, tcpSYN|tcpACK))
		f.Add(s.udp(port{v6: v6, number: 53}, 40000))
	}
	f.Add(s.arp(1))
	f.Fuzz(func(_ *testing.T, frame []byte) {
		s.receive(frame)
		s.take()
	})
}
