package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// guestAddress is what QEMU's DHCP gives the guest.
const guestAddress = "10.0.2.15"

// Hosts are further hosts on the guest's network. QEMU's own network hides who
// connects: to the guest, all come from 10.0.2.2. Each of these is such a network
// too, with another address, and is wired to the first.
type Hosts struct {
	// Services are addresses and ports on this machine. What connects there
	// comes to the guest's port 80 from the host of that place.
	Services []string

	filters filters
	// in leads to the guest's card. What the card sends comes out of out alone;
	// back takes on what is for the first network, which would answer what is for
	// the others with RST.
	in, out, back net.Conn
	wires         map[netip.Addr]net.Conn
	toGuest       sync.Mutex
	finishing     sync.WaitGroup
}

// Hosts makes some, one for each address, which are of 10.0.2.0/24.
func (g *Guest) Hosts(addresses ...netip.Addr) (*Hosts, error) {
	q, err := g.QMP()
	if err != nil {
		return nil, err
	}
	h := &Hosts{filters: filters{guest: g}, wires: map[netip.Addr]net.Conn{}}
	for _, f := range []struct {
		to          *net.Conn
		name, queue string
		device      string
	}{
		{&h.in, "hosts-in", "tx", "indev"},
		// What the guest sends goes through the filters from the last to the first.
		{&h.back, "hosts-back", "rx", "indev"},
		{&h.out, "hosts-out", "rx", "outdev"},
	} {
		if *f.to, err = h.filters.add(f.name, "filter-redirector", map[string]any{"queue": f.queue, f.device: f.name}); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	for n, address := range addresses {
		wire, service, err := addHost(q, filepath.Dir(g.QMPPath), n, address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("host %s on the guest's network: %w", address, err), h.Close())
		}
		h.wires[address] = wire
		h.Services = append(h.Services, service)
		h.finishing.Go(func() { h.fromHost(address, wire) })
	}
	h.finishing.Go(h.fromGuest)
	return h, nil
}

// Close ends their connections. QEMU keeps the networks, which nobody reaches.
func (h *Hosts) Close() error {
	h.filters.remove()
	var errs []error
	for _, conn := range []net.Conn{h.in, h.out, h.back} {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	for _, wire := range h.wires {
		errs = append(errs, wire.Close())
	}
	h.finishing.Wait()
	return errors.Join(errs...)
}

func addHost(q *QMP, folder string, n int, address netip.Addr) (wire net.Conn, service string, err error) {
	// A port that is free now: QEMU tells the one that it has chosen to people only.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	service = ln.Addr().String()
	if err := ln.Close(); err != nil {
		return nil, "", err
	}
	id := "host-" + strconv.Itoa(n)
	path := filepath.Join(folder, id)
	// A network reaches another one through a hub.
	const hubs = 100
	for _, device := range []map[string]any{
		{"type": "user", "id": id, "ipv6": false, "net": "10.0.2.0/24", "host": address.String(),
			"hostfwd": []any{map[string]any{"str": "tcp:" + service + "-" + guestAddress + ":80"}}},
		{"type": "hubport", "id": id + "-a", "hubid": hubs + n, "netdev": id},
		{"type": "stream", "id": id + "-wire", "server": true, "addr": map[string]any{"type": "unix", "path": path}},
		{"type": "hubport", "id": id + "-b", "hubid": hubs + n, "netdev": id + "-wire"},
	} {
		if err := q.Execute("netdev_add", device, nil); err != nil {
			return nil, "", err
		}
	}
	// QEMU makes this socket after its answer.
	for deadline := time.Now().Add(qmpTimeout); ; time.Sleep(20 * time.Millisecond) {
		wire, err = net.Dial("unix", path)
		if err == nil || time.Now().After(deadline) {
			return wire, service, err
		}
	}
}

// fromHost passes on what the host sends to the guest, and nothing that it says
// to others: it would answer for the first network's servers.
func (h *Hosts) fromHost(address netip.Addr, wire io.Reader) {
	for {
		frame, err := readFrame(wire)
		if err != nil {
			return
		}
		if from, _ := ends(frame); from != address {
			continue
		}
		h.toGuest.Lock()
		err = writeFrame(h.in, frame)
		h.toGuest.Unlock()
		if err != nil {
			return
		}
	}
}

func (h *Hosts) fromGuest() {
	for {
		frame, err := readFrame(h.out)
		if err != nil {
			return
		}
		_, to := ends(frame)
		next, ours := h.wires[to]
		if !ours {
			next = h.back
		}
		if writeFrame(next, frame) != nil {
			return
		}
	}
}

const (
	maxFrame      = 1 << 16
	addressLength = 4
)

func readFrame(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(r, frame)
	return frame, err
}

func writeFrame(w io.Writer, frame []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}

// ends are the IPv4 addresses that a packet or an ARP message goes from and to;
// of anything else they are zero.
func ends(frame []byte) (from, to netip.Addr) {
	const ethernet, typeIPv4, typeARP = 14, 0x0800, 0x0806
	if len(frame) < ethernet {
		return from, to
	}
	body := frame[ethernet:]
	at := func(offset int) netip.Addr {
		return netip.AddrFrom4([addressLength]byte(body[offset : offset+addressLength]))
	}
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == typeIPv4 && len(body) >= 20:
		return at(12), at(16)
	case kind == typeARP && len(body) >= 28:
		return at(14), at(24)
	}
	return from, to
}
