package events

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"strings"
	"time"
)

// Event is one record of the log. It is written as JSON, so that a file can be
// read without this program.
type Event struct {
	// Seq numbers the events, rising and with gaps.
	Seq    uint64 `json:"seq"`
	BootID string `json:"boot_id"` // of the kernel; "" when it cannot be read
	// Time is the wall clock, which is wrong until it has been set on a device
	// without a battery-backed clock. BootID and UptimeSeconds are always right.
	Time          time.Time         `json:"time"`
	UptimeSeconds float64           `json:"uptime_seconds"`
	Kind          Kind              `json:"kind"`
	Severity      Severity          `json:"severity"`
	Message       string            `json:"message"`
	Fields        map[string]string `json:"fields,omitempty"`
}

// Kind says what an event is about.
type Kind string

// The kinds of events.
const (
	Boot          Kind = "boot" // once for each boot, with the cause of the reset
	ServiceStart  Kind = "service_start"
	ServiceStop   Kind = "service_stop"
	StartRefused  Kind = "start_refused"
	ConfigReload  Kind = "config_reload"
	ConfigSkipped Kind = "config_skipped" // a start went on without a bad file
	Watchdog      Kind = "watchdog"
	AcceptFailed  Kind = "accept_failed"
	DataPartition Kind = "data_partition"
	Firewall      Kind = "firewall"
	Crowded       Kind = "crowded"   // connections are refused or cut off
	EventLog      Kind = "event_log" // what this log has to say of itself
)

// Severity says how bad an event is.
type Severity string

// The severities, by rising weight.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Error    Severity = "error"
	Critical Severity = "critical"
)

// A frame is the magic, the length of the payload, the CRC-32C of length and
// payload (both little endian), and the payload. No byte of the magic occurs in
// UTF-8, which JSON is, so the search for the next frame never stops inside a
// payload.
const (
	magic       = "\xff\xfe\xfd\xfc"
	headerBytes = len(magic) + 4 + 4

	// maxPayload bounds a record, and with it what a damaged length can claim.
	maxPayload = 4 << 10

	maxMessage = 1 << 10
	maxField   = 512
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendFrame(b, payload []byte) []byte {
	b = append(b, magic...)
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	sum := crc32.Update(crc32.Checksum(b[start:], castagnoli), castagnoli, payload)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, payload...)
}

// encode returns the payload of e, at most maxPayload bytes.
func (e Event) encode() []byte {
	payload, err := json.Marshal(e)
	if err == nil && len(payload) <= maxPayload {
		return payload
	}
	// JSON writes up to six bytes for one. And it has no year above 9999, which a
	// clock that was never set can show.
	e.Message, e.Fields = cut(e.Message, maxMessage/2), nil
	e.Time = time.Unix(0, 0).UTC()
	payload, err = json.Marshal(e)
	if err != nil {
		panic(err) // numbers and short strings
	}
	return payload
}

// item is the event as one that is not stored.
func (e Event) item() Item {
	item := newItem(e.Seq, e.encode(), false)
	item.event = &e
	return item
}

// cut shortens s to n bytes of valid UTF-8.
func cut(s string, n int) string {
	return strings.ToValidUTF8(s[:min(len(s), n)], "")
}

// record is an event and the payload that it was read from.
type record struct {
	event   Event
	payload []byte
}

// contents is what scan has found in a segment.
type contents struct {
	records []record
	good    int  // length of the undamaged beginning, in bytes
	bad     int  // bytes that belong to no good record
	torn    bool // the bad bytes are what an interrupted append leaves at the end
}

// scan reads a segment. It takes every record whose frame is whole, wherever
// it stands: what follows a damaged one is found by the next magic.
func scan(data []byte) contents {
	var c contents
	for offset := 0; offset < len(data); {
		if r, size, ok := readFrame(data[offset:]); ok {
			c.records = append(c.records, r)
			offset += size
			if c.bad == 0 {
				c.good = offset
			}
			continue
		}
		next := len(data)
		if i := bytes.Index(data[offset+1:], []byte(magic)); i >= 0 {
			next = offset + 1 + i
		}
		c.bad += next - offset
		offset = next
	}
	c.torn = c.bad > 0 && c.good+c.bad == len(data) && isTorn(data[c.good:])
	return c
}

// readFrame reads the frame at the beginning of data.
func readFrame(data []byte) (r record, size int, ok bool) {
	if len(data) < headerBytes || string(data[:len(magic)]) != magic {
		return r, 0, false
	}
	lengthBytes := data[len(magic) : len(magic)+4]
	length := binary.LittleEndian.Uint32(lengthBytes)
	if length > maxPayload || int(length) > len(data)-headerBytes {
		return r, 0, false
	}
	size = headerBytes + int(length)
	payload := data[headerBytes:size]
	sum := crc32.Update(crc32.Checksum(lengthBytes, castagnoli), castagnoli, payload)
	if sum != binary.LittleEndian.Uint32(data[len(magic)+4:]) {
		return r, 0, false
	}
	if json.Unmarshal(payload, &r.event) != nil || r.event.Seq == 0 {
		return r, 0, false
	}
	r.payload = bytes.Clone(payload)
	return r, size, true
}

// isTorn tells the end of an append that was cut from damage: the beginning of
// a frame, or the zeros of a file that grew before its data came. A record was
// acknowledged only when all of it was on the disk, so neither was.
func isTorn(tail []byte) bool {
	if len(bytes.Trim(tail, "\x00")) == 0 {
		return true
	}
	if len(tail) < headerBytes {
		n := min(len(tail), len(magic))
		return string(tail[:n]) == magic[:n]
	}
	length := binary.LittleEndian.Uint32(tail[len(magic):])
	return string(tail[:len(magic)]) == magic && length <= maxPayload && int(length) > len(tail)-headerBytes
}
