package hostile

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"
)

// eventFolder asks the daemon where it keeps its log; "" when only in memory.
func (p place) eventFolder() (string, error) {
	var told struct{ Log struct{ Directory string } }
	err := p.ask("/api/v1/events?limit=1", &told)
	return told.Log.Directory, err
}

// fullEventLog is what a device has in its two segments after some 700 boots:
// all that they hold, in events of usual length. The format is that of
// src/internal/events/record.go.
func fullEventLog() map[string][]byte {
	const segment = 256 << 10
	files := map[string][]byte{}
	seq := uint64(0)
	for _, name := range []string{"events.old", "events"} {
		var content []byte
		for {
			seq++
			record := frame(seq)
			if len(content)+len(record) > segment {
				break
			}
			content = append(content, record...)
		}
		files[name] = content
	}
	return files
}

func frame(seq uint64) []byte {
	kind, message := "service_start", "gin-edged 0.1.0 serves on [::]:80"
	switch seq % 3 {
	case 0:
		kind, message = "boot", "boot after a reset by power-on or an unknown cause"
	case 1:
		kind, message = "config_reload", "configuration reloaded, generation 2 is in force"
	}
	payload, err := json.Marshal(map[string]any{
		"seq": seq, "boot_id": fmt.Sprintf("%08x-0000-4000-8000-000000000000", seq/3),
		"time": time.Unix(1760000000+int64(seq)*60, 0).UTC(), "uptime_seconds": float64(seq % 1000),
		"kind": kind, "severity": "info", "message": message, "fields": map[string]string{"cause": "power-on"},
	})
	if err != nil {
		panic(err) // numbers and short strings
	}
	b := []byte("\xff\xfe\xfd\xfc")
	length := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	sum := crc32.Checksum(append(length, payload...), crc32.MakeTable(crc32.Castagnoli))
	b = append(b, length...)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, payload...)
}
