package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// What a port answered to a SYN or a datagram. A port that a packet filter
// drops answers nothing.
const (
	answerOpen   = "open"   // SYN and ACK, or a datagram
	answerClosed = "closed" // RST, or an ICMP error: the packet got through
)

// Of the frames that are made and read here.
const (
	typeIPv4, typeARP, typeIPv6    = 0x0800, 0x0806, 0x86dd
	protoTCP, protoUDP             = 6, 17
	protoICMP, protoICMPv6         = 1, 58
	tcpSYN, tcpRST, tcpACK         = 0x02, 0x04, 0x10
	ethernetLength                 = 14
	ipv4Length, ipv6Length         = 20, 40
	tcpLength, udpLength           = 20, 8
	icmp6Solicit, icmp6Advertise   = 135, 136
	icmp4Unreachable, icmp6Unreach = 3, 1
)

// port is one that was asked.
type port struct {
	v6     bool
	proto  byte
	number uint16
}

func (p port) String() string {
	family, proto := 4, "tcp"
	if p.v6 {
		family = 6
	}
	if p.proto == protoUDP {
		proto = "udp"
	}
	return fmt.Sprintf("%s/%d over IPv%d", proto, p.number, family)
}

// answer is what came back from a port, and to which of our own it went.
type answer struct {
	port
	to   uint16
	kind string
}

// scanner is another host on the guest's network. It makes the frames itself,
// so it needs nothing of the host, and nothing of the guest.
type scanner struct {
	in, out            io.ReadWriteCloser // frames to the guest, and from it
	guestMAC, mac      net.HardwareAddr
	guest4, guest6     netip.Addr
	address4, address6 netip.Addr

	frames chan []byte    // to the guest
	done   sync.WaitGroup // of the goroutines
	ended  chan struct{}  // closed when nothing comes from the guest any more

	mu      sync.Mutex
	answers []answer
	arps    int           // answers to our questions
	more    chan struct{} // has a value when one of them has changed
}

// startScanner speaks the framing of QEMU's filter-redirector and filter-mirror
// on both connections.
func startScanner(in, out io.ReadWriteCloser, guestMAC net.HardwareAddr, guest4, guest6 netip.Addr) *scanner {
	s := &scanner{
		in: in, out: out, guestMAC: guestMAC, guest4: guest4, guest6: guest6,
		mac:      net.HardwareAddr{0x52, 0x54, 0, 0x99, 0x99, 0x99},
		address4: netip.MustParseAddr("10.0.2.99"),
		address6: netip.MustParseAddr("fe80::99"),
		frames:   make(chan []byte, 1024),
		ended:    make(chan struct{}),
		more:     make(chan struct{}, 1),
	}
	s.done.Add(2)
	go s.read()
	go s.write()
	return s
}

func (s *scanner) close() error {
	err := errors.Join(s.in.Close(), s.out.Close())
	s.done.Wait()
	return err
}

func (s *scanner) read() {
	defer s.done.Done()
	defer close(s.ended)
	for {
		var length [4]byte
		if _, err := io.ReadFull(s.out, length[:]); err != nil {
			return
		}
		frame := make([]byte, min(binary.BigEndian.Uint32(length[:]), 1<<16))
		if _, err := io.ReadFull(s.out, frame); err != nil {
			return
		}
		s.receive(frame)
	}
}

func (s *scanner) write() {
	defer s.done.Done()
	for {
		select {
		case <-s.ended:
			return
		case frame := <-s.frames:
			if _, err := s.in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
				return
			}
		}
	}
}

// post sends a frame, and waits where there are too many.
func (s *scanner) post(frame []byte) error {
	select {
	case s.frames <- frame:
		return nil
	case <-s.ended:
		return errors.New("the connection to the guest's network has ended")
	case <-time.After(time.Minute):
		return errors.New("the guest's network takes no frames")
	}
}

// reply sends a frame or drops it: the reader never waits for the guest, which
// may be waiting for the reader.
func (s *scanner) reply(frame []byte) {
	select {
	case s.frames <- frame:
	default:
	}
}

// receive answers the guest's questions for our hardware address and notes its
// answers to ours.
func (s *scanner) receive(frame []byte) {
	if len(frame) < ethernetLength {
		return
	}
	body := frame[ethernetLength:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case typeARP:
		s.receiveARP(body)
	case typeIPv4:
		if len(body) < ipv4Length || [4]byte(body[16:20]) != s.address4.As4() {
			return
		}
		header := int(body[0]&15) * 4
		if len(body) >= header {
			s.receiveIP(false, body[9], body[header:])
		}
	case typeIPv6:
		if len(body) < ipv6Length {
			return
		}
		if body[6] == protoICMPv6 {
			s.receiveSolicitation(body[ipv6Length:])
		}
		if [16]byte(body[24:40]) == s.address6.As16() {
			s.receiveIP(true, body[6], body[ipv6Length:])
		}
	}
}

func (s *scanner) receiveARP(body []byte) {
	if len(body) < 28 || [4]byte(body[24:28]) != s.address4.As4() {
		return
	}
	switch body[7] {
	case 1:
		s.reply(s.arp(2))
	case 2:
		s.mu.Lock()
		s.arps++
		s.mu.Unlock()
		s.changed()
	}
}

// arp asks for (1) or answers with (2) a hardware address.
func (s *scanner) arp(operation byte) []byte {
	b := s.ethernet(typeARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, operation)
	b = append(b, s.mac...)
	b = append(b, s.address4.AsSlice()...)
	b = append(b, s.guestMAC...)
	return append(b, s.guest4.AsSlice()...)
}

func (s *scanner) receiveSolicitation(body []byte) {
	if len(body) < 24 || body[0] != icmp6Solicit || [16]byte(body[8:24]) != s.address6.As16() {
		return
	}
	const solicitedOverride = 0x60
	b := []byte{icmp6Advertise, 0, 0, 0, solicitedOverride, 0, 0, 0}
	b = append(b, s.address6.AsSlice()...)
	b = append(append(b, 2, 1), s.mac...)
	s.reply(s.packet(true, protoICMPv6, b, 2))
}

func (s *scanner) receiveIP(v6 bool, proto byte, body []byte) {
	a := answer{port: port{v6: v6, proto: proto}}
	switch proto {
	case protoTCP:
		if len(body) < tcpLength {
			return
		}
		switch flags := body[13]; {
		case flags&tcpRST != 0:
			a.kind = answerClosed
		case flags&(tcpSYN|tcpACK) == tcpSYN|tcpACK:
			a.kind = answerOpen
		default:
			return
		}
		a.number, a.to = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
		if a.kind == answerOpen {
			// Do not leave it half open.
			s.reply(s.tcp(a.port, a.to, binary.BigEndian.Uint32(body[8:]), tcpRST))
		}
	case protoUDP:
		if len(body) < udpLength {
			return
		}
		a.kind, a.number, a.to = answerOpen, binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	case protoICMP, protoICMPv6:
		// It holds the head of what we have sent.
		inner, unreachable := ipv4Length, byte(icmp4Unreachable)
		if v6 {
			inner, unreachable = ipv6Length, icmp6Unreach
		}
		if len(body) < 8+inner+4 || body[0] != unreachable {
			return
		}
		a.kind, a.proto = answerClosed, body[8+9]
		if v6 {
			a.proto = body[8+6]
		}
		a.to, a.number = binary.BigEndian.Uint16(body[8+inner:]), binary.BigEndian.Uint16(body[8+inner+2:])
	default:
		return
	}
	s.mu.Lock()
	s.answers = append(s.answers, a)
	s.mu.Unlock()
	s.changed()
}

func (s *scanner) changed() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *scanner) ethernet(kind uint16) []byte {
	b := append(append([]byte{}, s.guestMAC...), s.mac...)
	return binary.BigEndian.AppendUint16(b, kind)
}

// packet puts the headers of Ethernet and IP in front of a body whose checksum,
// at the offset, is still zero.
func (s *scanner) packet(v6 bool, proto byte, body []byte, checksumAt int) []byte {
	from, to := s.address4.AsSlice(), s.guest4.AsSlice()
	if v6 {
		from, to = s.address6.AsSlice(), s.guest6.AsSlice()
	}
	pseudo := append(append([]byte{}, from...), to...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(body)))
	pseudo = append(pseudo, 0, 0, 0, proto)
	binary.BigEndian.PutUint16(body[checksumAt:], checksum(append(pseudo, body...)))
	const hopLimit = 255 // which neighbour discovery asks for
	if v6 {
		b := s.ethernet(typeIPv6)
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
		b = append(b, proto, hopLimit)
		return append(append(append(b, from...), to...), body...)
	}
	header := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, hopLimit, proto, 0, 0}
	binary.BigEndian.PutUint16(header[2:], uint16(ipv4Length+len(body)))
	header = append(append(header, from...), to...)
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	return append(append(s.ethernet(typeIPv4), header...), body...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func (s *scanner) tcp(to port, from uint16, sequence uint32, flags byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to.number)
	b = binary.BigEndian.AppendUint32(b, sequence)
	b = append(b, 0, 0, 0, 0, tcpLength/4<<4, flags, 0x20, 0, 0, 0, 0, 0)
	return s.packet(to.v6, protoTCP, b, 16)
}

func (s *scanner) udp(to port, from uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to.number)
	b = append(b, 0, udpLength+4, 0, 0, 'p', 'i', 'n', 'g')
	return s.packet(to.v6, protoUDP, b, 6)
}

// ask sends one SYN or datagram from a port of ours.
func (s *scanner) ask(to port, from uint16) error {
	if to.proto == protoUDP {
		return s.post(s.udp(to, from))
	}
	return s.post(s.tcp(to, from, uint32(from)<<16, tcpSYN))
}

// settle waits until the guest has taken everything that was sent so far: it
// answers an ARP request in its turn, and no packet filter has a say in that.
func (s *scanner) settle(limit time.Duration) error {
	s.mu.Lock()
	before := s.arps
	s.mu.Unlock()
	deadline := time.Now().Add(limit)
	for {
		if err := s.post(s.arp(1)); err != nil {
			return err
		}
		again := time.After(2 * time.Second)
		for waiting := true; waiting; {
			s.mu.Lock()
			arps := s.arps
			s.mu.Unlock()
			if arps > before {
				return nil
			}
			select {
			case <-s.more:
			case <-again:
				waiting = false
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the guest did not answer ARP within %v", limit)
		}
	}
}

// scan asks each port once, from up to 200 ports of ours that begin at from, and
// returns what came back to these.
func (s *scanner) scan(ports []port, from uint16) ([]answer, error) {
	const batch = 200 // less than a network card takes at a time
	s.take()
	for n, p := range ports {
		if err := s.ask(p, from+uint16(n%batch)); err != nil {
			return nil, err
		}
		if n%batch == batch-1 || n == len(ports)-1 {
			if err := s.settle(time.Minute); err != nil {
				return nil, err
			}
		}
	}
	// An answer may wait for the guest's own question for our address.
	if err := s.settle(time.Minute); err != nil {
		return nil, err
	}
	// A connection of an earlier scan may still be asking for its end.
	return slices.DeleteFunc(s.take(), func(a answer) bool { return a.to < from || a.to >= from+batch }), nil
}

// take returns the answers since the last call.
func (s *scanner) take() []answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.answers
	s.answers = nil
	return taken
}
