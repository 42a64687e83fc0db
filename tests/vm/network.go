package vm

import (
	"fmt"
	"net"
	"path/filepath"
)

// Tap is a second cable to the guest's network: frames go to its card through
// In, and each frame that it sends comes out of Out as well. Both have the
// length of a frame, four bytes of it in network order, before the frame.
type Tap struct {
	In, Out net.Conn
	MAC     net.HardwareAddr // of the guest's card

	filters filters
}

// Tap makes one. name is of its own among the guest's.
func (g *Guest) Tap(name string) (*Tap, error) {
	t := &Tap{filters: filters{guest: g}}
	var err error
	// QEMU names the directions after the network: what it sends to the guest
	// is tx.
	if t.In, err = t.filters.add(name+"-in", "filter-redirector", map[string]any{"queue": "tx", "indev": name + "-in"}); err != nil {
		return nil, err
	}
	if t.Out, err = t.filters.add(name+"-out", "filter-mirror", map[string]any{"queue": "rx", "outdev": name + "-out"}); err != nil {
		return nil, err
	}
	q, err := g.QMP()
	if err != nil {
		return nil, err
	}
	var cards []struct {
		MAC string `json:"main-mac"`
	}
	if err := q.Execute("query-rx-filter", nil, &cards); err != nil {
		return nil, err
	}
	if len(cards) != 1 {
		return nil, fmt.Errorf("the guest has %d network cards, want one", len(cards))
	}
	t.MAC, err = net.ParseMAC(cards[0].MAC)
	return t, err
}

// Remove takes the cable out. Who has cut the guest's power need not.
func (t *Tap) Remove() { t.filters.remove() }

// filters are QEMU's on the guest's network, each with a socket of its own.
type filters struct {
	guest *Guest
	names []string
}

// add gives QEMU a socket, and a filter that uses it, and connects to it.
func (f *filters) add(name, kind string, object map[string]any) (net.Conn, error) {
	q, err := f.guest.QMP()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(filepath.Dir(f.guest.QMPPath), name)
	if err := q.Execute("chardev-add", map[string]any{"id": name, "backend": map[string]any{
		"type": "socket", "data": map[string]any{
			"addr":   map[string]any{"type": "unix", "data": map[string]any{"path": path}},
			"server": true, "wait": false,
		},
	}}, nil); err != nil {
		return nil, err
	}
	f.names = append(f.names, name)
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	object["qom-type"], object["id"], object["netdev"] = kind, "filter-"+name, "net"
	return conn, q.Execute("object-add", object, nil)
}

// remove takes them away, the last one first.
func (f *filters) remove() {
	q, err := f.guest.QMP()
	if err != nil {
		return
	}
	for n := len(f.names) - 1; n >= 0; n-- {
		_ = q.Execute("object-del", map[string]any{"id": "filter-" + f.names[n]}, nil)
		_ = q.Execute("chardev-remove", map[string]any{"id": f.names[n]}, nil)
	}
	f.names = nil
}
