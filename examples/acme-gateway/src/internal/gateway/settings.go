package gateway

import (
	"fmt"
	"strings"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge/keys"
)

// settings is the table [x.gateway].
type settings struct {
	Interval time.Duration // between two readings
	History  int           // readings that are kept
	Hot      int           // °C from which the gateway is degraded
	LED      string        // that shows the state; "": none
}

func defaults() *settings {
	return &settings{Interval: 10 * time.Second, History: 360, Hot: 85}
}

func (s *settings) Keys() []edge.Key {
	return []edge.Key{
		keys.Duration("interval", &s.Interval, time.Second, time.Hour),
		keys.Integer("history", &s.History, 1, 10000),
		keys.Integer("hot", &s.Hot, 20, 125),
		keys.Text("led", &s.LED, func(name string) error {
			// A folder of /sys/class/leds, and not one elsewhere.
			if strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") || len(name) > 64 {
				return fmt.Errorf(`%s is not the name of an LED, like "status:green"; /sys/class/leds has those of a device`, keys.Quote(name))
			}
			return nil
		}),
	}
}

// Check keeps the history below a week: more is a database's.
func (s *settings) Check() error {
	if span := time.Duration(s.History) * s.Interval; span > 7*24*time.Hour {
		return &edge.KeyError{Keys: []string{"history", "interval"}, Err: fmt.Errorf(
			"%d readings, one each %s, are more than a week: lower history or interval", s.History, keys.FormatDuration(s.Interval))}
	}
	return nil
}
