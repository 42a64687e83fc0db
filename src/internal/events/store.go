package events

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/storage"
)

const (
	// maxSegment bounds a segment, in bytes. There are two, so the log takes at
	// most twice this, and once more for what was damaged.
	maxSegment = 256 << 10

	current  = "events"         // appended to
	previous = "events.old"     // the segment before
	corrupt  = "events.corrupt" // the last segment that was damaged, as it was found
	scratch  = "events.tmp"     // never read
	epochs   = "events.epoch"   // names the line of numbers, see Cursor
)

// disk is what the store needs of its directory; a test has one that loses
// what was not synchronised.
type disk interface {
	read(name string) ([]byte, error)
	// open opens a file for writing and creates it when it is missing.
	open(name string) (file, error)
	rename(from, to string) error
	// sync makes creations and renames durable.
	sync() error
	// stale tells whether the directory, or the open file current in it, is no
	// longer the one that its path leads to.
	stale(f file) bool
	close() error
}

type file interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// store is the log on the disk. It is not safe for concurrent use.
type store struct {
	disk  disk
	limit int64 // of a segment
	file  file  // current; nil when it has to be opened
	size  int64 // of the acknowledged records in file
	dirty bool  // bytes behind size may be there: an append failed
	last  uint64
}

// found is what openStore has read and repaired.
type found struct {
	records []record // oldest first
	torn    int      // bytes of an interrupted append that were removed
	corrupt int      // damaged bytes that were moved aside
	epoch   epoch    // of the numbers; 0 when the disk holds none
}

// openStore reads the log and makes it ready for appends. When that fails, on
// a read-only file system for one, the records that could be read are returned
// with the error.
func openStore(d disk, limit int64) (*store, found, error) {
	s := &store{disk: d, limit: limit}
	var f found
	var errs []error
	for _, name := range []string{previous, current} {
		data, err := d.read(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		c := scan(data)
		f.records = append(f.records, c.records...)
		for _, r := range c.records {
			s.last = max(s.last, r.event.Seq)
		}
		switch {
		case c.torn:
			f.torn += c.bad
		case c.bad > 0:
			if c.good, err = s.salvage(name, data, c.records); err != nil {
				errs = append(errs, err)
				continue
			}
			f.corrupt += c.bad
		}
		s.size = int64(c.good)
	}
	epoch, err := s.readEpoch()
	if err != nil {
		errs = append(errs, err)
	}
	f.epoch = epoch
	if len(errs) > 0 {
		return nil, f, errors.Join(errs...)
	}
	// Without a record nothing says that the numbers begin where they ended, and
	// behind damage acknowledged ones may be given again.
	if epoch == 0 || f.corrupt > 0 || len(f.records) == 0 {
		f.epoch = 0 // until it is written
		epoch = newEpoch()
		if err := s.replace(epochs, []byte(epoch.String()+"\n")); err != nil {
			return nil, f, err
		}
		f.epoch = epoch
	}
	s.dirty = true // a torn record; and what was only written may now be synchronised
	if err := s.ready(); err != nil {
		return nil, f, err
	}
	return s, f, nil
}

// readEpoch returns 0 when there is none that can be read as one.
func (s *store) readEpoch() (epoch, error) {
	data, err := s.disk.read(epochs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	e, err := parseEpoch(strings.TrimSuffix(string(data), "\n"))
	if err != nil {
		return 0, nil // from before there were epochs, or damaged: a new one is made
	}
	return e, nil
}

// salvage replaces a damaged segment by its good records. Its damaged form is
// safe under another name before that; a cut in between repeats the work.
func (s *store) salvage(name string, data []byte, records []record) (size int, err error) {
	if err := s.replace(corrupt, data); err != nil {
		return 0, fmt.Errorf("move the damaged %s aside: %w", name, err)
	}
	var good []byte
	for _, r := range records {
		good = appendFrame(good, r.payload)
	}
	if err := s.replace(name, good); err != nil {
		return 0, fmt.Errorf("write what is good of %s: %w", name, err)
	}
	return len(good), nil
}

// replace gives a file new content: all of it or, after a cut, none of it.
func (s *store) replace(name string, data []byte) error {
	f, err := s.disk.open(scratch)
	if err != nil {
		return err
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt(data, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.disk.rename(scratch, name); err != nil {
		return err
	}
	return s.disk.sync()
}

// append writes a record. When it returns nil the record is on the disk and
// survives a loss of power: it is acknowledged. After an error it is not part
// of the log, and append may be tried again.
func (s *store) append(payload []byte) error {
	frame := appendFrame(nil, payload)
	if err := s.ready(); err != nil {
		return err
	}
	if s.size > 0 && s.size+int64(len(frame)) > s.limit {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	s.dirty = true
	if _, err := s.file.WriteAt(frame, s.size); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.dirty = false
	s.size += int64(len(frame))
	return nil
}

// ready opens the current segment and removes what stands behind its last
// acknowledged record. After a failed fsync Linux takes the pages for clean, so
// a second fsync would acknowledge what never reached the disk: the record has
// to go and to be written anew.
func (s *store) ready() error {
	if s.file == nil {
		// A rename that came before must not be overtaken by the creation.
		if err := s.disk.sync(); err != nil {
			return err
		}
		f, err := s.disk.open(current)
		if err != nil {
			return err
		}
		if err := s.disk.sync(); err != nil {
			return errors.Join(err, f.Close())
		}
		s.file = f
	}
	if !s.dirty {
		return nil
	}
	if err := s.file.Truncate(s.size); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.dirty = false
	return nil
}

// rotate makes the current segment the previous one. A cut leaves either the
// segments as they were, or no current one, which is then made.
func (s *store) rotate() error {
	if err := s.disk.rename(current, previous); err != nil {
		return err
	}
	err := s.file.Close() // synchronised before
	s.file, s.size = nil, 0
	return errors.Join(err, s.ready())
}

func (s *store) close() error {
	var err error
	if s.file != nil {
		err = s.file.Close()
	}
	return errors.Join(err, s.disk.close())
}

// osDisk is a directory of the operating system.
type osDisk struct {
	path string
	dir  *os.File
}

// openDisk opens the directory and makes it and its parent when they are
// missing; what is above them is not the service's. A second process is kept
// out by a lock on the directory.
func openDisk(path string) (*osDisk, error) {
	for _, p := range []string{filepath.Dir(path), path} {
		switch err := os.Mkdir(p, 0o750); {
		case err == nil:
			if err := syncDirectory(filepath.Dir(p)); err != nil {
				return nil, err
			}
		case errors.Is(err, fs.ErrExist):
		default:
			// On a read-only file system the directory may still be there to read.
			if _, statErr := os.Stat(p); statErr != nil {
				return nil, err
			}
		}
	}
	dir, err := storage.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = dir.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: another process writes there", path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &osDisk{path, dir}, nil
}

func syncDirectory(path string) error {
	dir, err := storage.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// maxRead bounds what is read of a file: above any segment of this or, as far
// as one can know, another release.
const maxRead = 4 * maxSegment

func (d *osDisk) openFile(name string, flags int) (*os.File, error) {
	f, err := storage.OpenFile(filepath.Join(d.path, name), flags|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s: not a regular file; remove it", f.Name())
	case info.Size() > maxRead:
		err = fmt.Errorf("%s: larger than %d bytes, so not a segment of this log; move it away", f.Name(), maxRead)
	default:
		return f, nil
	}
	_ = f.Close()
	return nil, err
}

func (d *osDisk) read(name string) ([]byte, error) {
	f, err := d.openFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func (d *osDisk) open(name string) (file, error) {
	f, err := d.openFile(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err // not f: it would be a non-nil file
	}
	return f, nil
}

func (d *osDisk) rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d *osDisk) sync() error { return d.dir.Sync() }

func (d *osDisk) stale(f file) bool {
	changed := func(path string, open *os.File) bool {
		there, err := os.Stat(path)
		if err != nil {
			return true
		}
		here, err := open.Stat()
		return err != nil || !os.SameFile(there, here)
	}
	return changed(d.path, d.dir) || f != nil && changed(filepath.Join(d.path, current), f.(*os.File))
}

func (d *osDisk) close() error { return d.dir.Close() }
