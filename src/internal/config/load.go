package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

// Layer is one file of the configuration.
type Layer struct {
	Path     string
	Optional bool // a missing file is no error

	// OnData: Path and Good are below the mount point that the layers before this
	// one set storage.data to. Without one there is no such layer.
	OnData bool

	// Good is where the last good copy of the file is kept, "" for a file in which
	// a start accepts no mistake. The file on the data partition has one: it is not
	// part of the system that was tested, an update may know other keys than it,
	// and a start that it refuses is refused for good on a device without a login.
	Good string

	// Label is what the API calls the file; "" is the last part of its path. Whoever
	// asks the API need not know the paths of the device.
	Label string

	// Read returns the content; nil reads the file. A test has one that hangs.
	Read func() ([]byte, error)
}

// DefaultLayers are the files of an installed system: the vendor's defaults,
// what the package of the data partition says of it, the administrator's file,
// and the one on the data partition. Beside that one the service may write in the
// folder of the copy alone: not its own configuration.
func DefaultLayers() []Layer {
	return []Layer{
		{Path: "/usr/lib/gin-edge/gin-edged.toml", Optional: true, Label: "vendor/gin-edged.toml"},
		{Path: "/usr/lib/gin-edge/gin-edge-data.toml", Optional: true, Label: "vendor/gin-edge-data.toml"},
		{Path: "/etc/gin-edge/gin-edged.toml", Optional: true, Label: "etc/gin-edged.toml"},
		{Path: "/gin-edge/gin-edged.toml", Optional: true, OnData: true, Good: "/gin-edge/state/config/gin-edged.toml", Label: "data/gin-edged.toml"},
	}
}

func (l Layer) label() string {
	if l.Label == "" {
		return filepath.Base(l.Path)
	}
	return l.Label
}

// below is the layer at its place under the mount point.
func (l Layer) below(data string) Layer {
	l.Path = data + l.Path
	if l.Good != "" {
		l.Good = data + l.Good
	}
	return l
}

// Labels returns a function that replaces the paths of the layers in a text by
// their labels.
func Labels(layers []Layer) func(string) string {
	var pairs []string
	for _, l := range layers {
		if l.OnData {
			continue
		}
		if l.Good != "" {
			pairs = append(pairs, l.Good, l.label()+".good") // may begin with the path
		}
		pairs = append(pairs, l.Path, l.label())
	}
	whole := strings.NewReplacer(pairs...)
	return func(text string) string {
		// First, since /etc/gin-edge/… ends like a path below a mount point.
		text = whole.Replace(text)
		for _, l := range layers {
			if l.OnData {
				text = replaceBelow(text, l.Good, l.label()+".good")
				text = replaceBelow(text, l.Path, l.label())
			}
		}
		return text
	}
}

// replaceBelow replaces a path that ends as given, whatever the mount point.
func replaceBelow(text, end, label string) string {
	if end == "" {
		return text
	}
	for from := 0; ; {
		i := strings.Index(text[from:], end)
		if i < 0 {
			return text
		}
		i += from
		begin := len(strings.TrimRight(text[:i], storage.MountCharacters))
		text = text[:begin] + label + text[i+len(end):]
		from = begin + len(label)
	}
}

// Skipped is a layer that a start has passed over.
type Skipped struct {
	Path string
	Err  error  // why
	Copy string // the copy that was read instead, "" when there is none that is good
}

// String names the file, the mistake and the remedy.
func (s Skipped) String() string {
	instead := "it is left out"
	if s.Copy != "" {
		instead = "its last good copy " + s.Copy + " is in force"
	}
	if !strings.HasPrefix(s.Err.Error(), s.Path) {
		return fmt.Sprintf("%s: %v; %s: mend the file and reload", s.Path, s.Err, instead)
	}
	return fmt.Sprintf("%v; %s: mend the file and reload", s.Err, instead)
}

// maxFileBytes bounds what a layer may hold: far above any real file, far
// below the memory limit of the service.
const maxFileBytes = 256 << 10

// ReadTimeout is how long a layer may take to be read. A medium that answers
// later than that, or never, has no layer.
const ReadTimeout = 2 * time.Second

// Load merges the layers over the defaults. One mistake in one of them is an
// error, and nothing is loaded.
func Load(tables []Table, layers []Layer) (*Config, error) {
	return LoadContext(context.Background(), tables, layers)
}

// LoadContext is Load until ctx ends.
func LoadContext(ctx context.Context, tables []Table, layers []Layer) (*Config, error) {
	return load(ctx, tables, layers, false)
}

// LoadStart is for the start of the service: instead of a bad layer that has a
// Good, its copy is read when that is good, and none when it is not. Skipped of
// the result says so.
func LoadStart(ctx context.Context, tables []Table, layers []Layer) (*Config, error) {
	return load(ctx, tables, layers, true)
}

func load(ctx context.Context, tables []Table, layers []Layer, starting bool) (*Config, error) {
	c := Default(tables)
	for i, layer := range layers {
		if layer.OnData {
			data := c.dataPartition()
			if data == "" {
				continue
			}
			layer = layer.below(data)
		}
		lenient := starting && layer.Good != ""
		if lenient && i > 0 {
			// What is wrong with the layers below is not this one's fault.
			if err := c.consistent(); err != nil {
				return nil, err
			}
		}
		next, err := c.with(ctx, layer, layer.Path, lenient)
		switch {
		case err == nil:
			c = next
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !lenient:
			return nil, err
		default:
			skipped := Skipped{Path: layer.Path, Err: err}
			// The copy is on the same medium.
			if !errors.Is(err, errNoAnswer) {
				if next, err := c.with(ctx, layer, layer.Good, true); err == nil && len(next.Sources) > len(c.Sources) {
					c, skipped.Copy = next, layer.Good
				}
			}
			c.Skipped = append(c.Skipped, skipped)
		}
	}
	if err := c.consistent(); err != nil {
		return nil, err
	}
	return c, nil
}

// with returns c with the layer's file, or its copy, merged over it. whole says
// that the result has to be good as it is, without the layers that follow.
func (c *Config) with(ctx context.Context, layer Layer, path string, whole bool) (*Config, error) {
	next := c.clone()
	data, warning, err := readLayer(ctx, layer, path)
	if layer.Optional && errors.Is(err, fs.ErrNotExist) {
		if layer.Good != "" {
			next.copies = append(next.copies, keptCopy{path: layer.Good})
		}
		return next, nil
	}
	if err == nil {
		err = next.Merge(path, data)
	}
	if err == nil && whole {
		err = next.consistent()
	}
	if err != nil {
		return nil, err
	}
	if warning != "" {
		next.Warnings = append(next.Warnings, warning)
	}
	if layer.Good != "" && path == layer.Path {
		next.copies = append(next.copies, keptCopy{layer.Good, data, true})
	}
	return next, nil
}

var errNoAnswer = fmt.Errorf("no answer from its medium within %v", ReadTimeout)

// reading holds a place for each path that is being read. A medium that hangs
// costs one goroutine and one thread, however often it is asked.
var reading sync.Map // string → chan struct{}

// readLayer reads a file in a goroutine of its own, and leaves it behind when it
// does not end in time. The warning is about who else may write the file.
func readLayer(ctx context.Context, layer Layer, path string) (data []byte, warning string, err error) {
	read := func() ([]byte, string, error) { return readFile(path, layer.Good != "" && path == layer.Path) }
	if layer.Read != nil && path == layer.Path {
		read = func() ([]byte, string, error) {
			data, err := layer.Read()
			return data, "", err
		}
	}
	type result struct {
		data    []byte
		warning string
		err     error
	}
	ctx, cancel := context.WithTimeoutCause(ctx, ReadTimeout, fmt.Errorf("%s: %w", path, errNoAnswer))
	defer cancel()
	place, _ := reading.LoadOrStore(path, make(chan struct{}, 1))
	select {
	case place.(chan struct{}) <- struct{}{}:
	case <-ctx.Done():
		return nil, "", context.Cause(ctx)
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-place.(chan struct{}) }()
		data, warning, err := read()
		done <- result{data, warning, err}
	}()
	select {
	case r := <-done:
		return r.data, r.warning, r.err
	case <-ctx.Done():
		return nil, "", context.Cause(ctx)
	}
}

func readFile(path string, data bool) ([]byte, string, error) {
	// Opened first and looked at then: a FIFO could be put there in between.
	f, err := storage.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, "", err
	}
	if !info.Mode().IsRegular() {
		return nil, "", fmt.Errorf("%s: not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, "", err
	}
	if len(text) > maxFileBytes {
		return nil, "", fmt.Errorf("%s: larger than %d bytes", path, maxFileBytes)
	}
	owner := -1
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = int(stat.Uid)
	}
	return text, writers(path, info.Mode(), owner, os.Geteuid(), data), nil
}

// writers says who may write a layer and should not, or "".
func writers(path string, mode fs.FileMode, owner, self int, data bool) string {
	switch {
	case mode.Perm()&0o002 != 0:
		return fmt.Sprintf("%s: everybody may write it; chmod o-w %s", path, path)
	case owner == self && self != 0 && data:
		return fmt.Sprintf("%s: belongs to the user of the service, which could change its own configuration; chown root %s", path, path)
	case owner != 0 && owner != self:
		return fmt.Sprintf("%s: belongs to user %d, neither root nor the user of the service; chown root %s", path, owner, path)
	}
	return ""
}

// keptCopy is what a Good has to hold.
type keptCopy struct {
	path  string
	data  []byte
	there bool // else the copy has to go, as its file has
}

// KeepCopies writes the last good copies of the layers that have one, each as a
// whole or not at all, and removes those of files that are gone. It uses the
// disk, and waits for it.
func (c *Config) KeepCopies() error {
	var errs []error
	for _, k := range c.copies {
		errs = append(errs, k.keep())
	}
	return errors.Join(errs...)
}

func (k keptCopy) keep() error {
	if !k.there {
		if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if now, _, err := readFile(k.path, true); err == nil && string(now) == string(k.data) {
		return nil
	}
	// systemd-tmpfiles makes the folder; where it does not, the service may.
	if err := os.Mkdir(filepath.Dir(k.path), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	scratch := k.path + ".new"
	f, err := storage.OpenFile(scratch, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(k.data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(scratch, k.path); err != nil {
		return err
	}
	folder, err := storage.OpenFile(filepath.Dir(k.path), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
