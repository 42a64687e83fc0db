// Package sysfs reads the sensors and drives the LEDs of a Linux device by the
// files of its kernel.
package sysfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Sensor is what one input of a hardware monitor measures
// (Documentation/hwmon/sysfs-interface.rst of the kernel).
type Sensor struct {
	Name    string  `json:"name"`    // CHIP/INPUT, or CHIP/LABEL
	Celsius float64 `json:"celsius"` // temperature
}

// Temperatures reads all temperature inputs below root, which is the device's
// /sys. The error is about those that cannot be read; the others are there.
func Temperatures(root string) ([]Sensor, error) {
	inputs, err := filepath.Glob(filepath.Join(root, "class/hwmon/hwmon*/temp*_input"))
	if err != nil {
		return nil, err
	}
	slices.Sort(inputs)
	var sensors []Sensor
	var errs []error
	for _, input := range inputs {
		value, err := read(input)
		if err == nil {
			var milli int64
			if milli, err = strconv.ParseInt(value, 10, 32); err == nil {
				sensors = append(sensors, Sensor{name(input), float64(milli) / 1000})
				continue
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", name(input), err))
	}
	return sensors, errors.Join(errs...)
}

func name(input string) string {
	chip, err := read(filepath.Join(filepath.Dir(input), "name"))
	if err != nil {
		chip = path.Base(filepath.Dir(input))
	}
	base := strings.TrimSuffix(filepath.Base(input), "_input")
	if label, err := read(filepath.Join(filepath.Dir(input), base+"_label")); err == nil && label != "" {
		base = label
	}
	return chip + "/" + base
}

// read returns the text of a small file without the space around it.
func read(file string) (string, error) {
	data, err := os.ReadFile(file)
	return strings.TrimSpace(string(data)), err
}

// SetTrigger has an LED follow a trigger of the kernel, like heartbeat or none
// (Documentation/leds/leds-class.rst). It writes only what changes. An LED that
// the device does not have is fs.ErrNotExist.
func SetTrigger(root, led, trigger string) error {
	file := filepath.Join(root, "class/leds", led, "trigger")
	// "none [heartbeat] timer": the one in force is in brackets.
	now, err := read(file)
	if err != nil {
		return fmt.Errorf("LED %s: %w", led, cause(err))
	}
	known := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(now))
	switch {
	case strings.Contains(now, "["+trigger+"]"):
		return nil
	case !slices.Contains(known, trigger):
		return fmt.Errorf("LED %s: the kernel has no trigger %s; it has %s", led, trigger, strings.Join(known, ", "))
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(trigger)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("LED %s: %w", led, cause(err))
	}
	return nil
}

// cause is the error without the path, which says no more than the LED's name.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
