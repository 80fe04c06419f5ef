package affinity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is memory outside the Go heap, all of it present from the start: a loop
// never takes a page fault in it.
type mapping struct {
	words []atomic.Uint64
	raw   []byte // what words lies in
}

// newMapping maps n words of zeros, aligned to a page.
func newMapping(n int) (mapping, error) {
	return mapWords(-1, n, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

func mapWords(fd, n, flags int) (mapping, error) {
	raw, err := unix.Mmap(fd, 0, n*8, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_POPULATE)
	if err != nil {
		return mapping{}, err
	}
	// The mapping is page-aligned and n*8 bytes long, so it holds exactly n words.
	return mapping{words: unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&raw[0])), n), raw: raw}, nil
}

func (m mapping) close() error {
	if m.raw == nil {
		return nil
	}
	return unix.Munmap(m.raw)
}

// openMapping maps the file of n words at path, which only we may have written.
func openMapping(path string, n int) (mapping, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return mapping{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return mapping{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return mapping{}, errors.New("not a regular file")
	case int(st.Uid) != os.Geteuid():
		return mapping{}, fmt.Errorf("a file of user %d", st.Uid)
	case st.Mode&0o077 != 0:
		return mapping{}, fmt.Errorf("a file of mode %#o, which others may touch", st.Mode&0o777)
	case st.Size != int64(n)*8:
		return mapping{}, fmt.Errorf("a file of %d bytes, not %d", st.Size, int64(n)*8)
	}
	return reserveAndMap(fd, n)
}

// createMapping makes the file at path, mode 0600, full of zeros but for what fill
// writes. It gets its name last: who finds it finds it whole.
func createMapping(path string, n int, fill func(mapping)) (m mapping, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return mapping{}, err
	}
	temp := fmt.Sprintf("%s.%d.tmp", path, os.Getpid())
	fd, err := unix.Open(temp, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return mapping{}, &fs.PathError{Op: "create", Path: temp, Err: err}
	}
	defer unix.Close(fd)
	if m, err = reserveAndMap(fd, n); err == nil {
		fill(m)
		if err = os.Rename(temp, path); err == nil {
			return m, nil
		}
		err = errors.Join(err, m.close())
	}
	os.Remove(temp) // it only takes space, and err says more
	return mapping{}, err
}

// reserveAndMap takes the file's memory first: to touch a page that a full tmpfs
// cannot give is a SIGBUS.
func reserveAndMap(fd, n int) (mapping, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return mapping{}, fmt.Errorf("statfs: %w", err)
	}
	if st.Type != unix.TMPFS_MAGIC && st.Type != unix.RAMFS_MAGIC {
		return mapping{}, errors.New("not on a tmpfs: a loop would wait for the disk")
	}
	if err := unix.Fallocate(fd, 0, 0, int64(n)*8); err != nil {
		return mapping{}, fmt.Errorf("take %d bytes: %w", n*8, err)
	}
	return mapWords(fd, n, unix.MAP_SHARED)
}
