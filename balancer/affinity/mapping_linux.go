package affinity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"
)

// mapping is memory outside the Go heap. Of a file, what is to be used is taken before, so that a loop finds its pages
// there; memory that is no file's is there from the start.
type mapping struct {
	words []atomic.Uint64
	raw   []byte // what words lies in
	file  int    // what raw maps, for an heir to map too; 0: memory that ends with the process
}

// newMapping maps n words of zeros, aligned to a page.
func newMapping(n int) (mapping, error) {
	return mapWords(-1, n, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
}

func mapWords(fd, n, flags int) (mapping, error) {
	raw, err := unix.Mmap(fd, 0, n*8, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return mapping{}, err
	}
	// The mapping is page-aligned and n*8 bytes long, so it holds exactly n words.
	return mapping{words: unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&raw[0])), n), raw: raw}, nil
}

func (m mapping) close() (err error) {
	if m.raw != nil {
		err = unix.Munmap(m.raw)
	}
	if m.file != 0 {
		err = errors.Join(err, unix.Close(m.file))
	}
	return err
}

// share is a duplicate of the descriptor, the caller's to close; errors.ErrUnsupported: there is none.
func (m mapping) share() (fd int, err error) {
	if m.file == 0 {
		return -1, errors.ErrUnsupported
	}
	return unix.FcntlInt(uintptr(m.file), unix.F_DUPFD_CLOEXEC, 3) // 0 means none, here
}

// take takes the memory from one byte to another, and maps it. Of a file that is folded it is not there before: to touch
// it without is a page fault, and more where there is no memory.
func (m mapping) take(from, to int) error {
	if m.file == 0 {
		return nil
	}
	if err := takeBytes(m.file, int64(from), int64(to)); err != nil {
		return err
	}
	const leastPage = 4096 / 8
	for i := from / 8; i < to/8; i += leastPage {
		m.words[i].Load()
	}
	return nil
}

// exportableMapping maps n words of zeros of a file without a name (memfd_create(2)), which other processes can map
// that are given its descriptor. Its memory is there when it is taken, or touched. errors.ErrUnsupported: the system has
// no such files, or forbids them.
func exportableMapping(name string, n int) (mapping, error) {
	const flags = unix.MFD_CLOEXEC
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // a kernel before 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	switch err {
	case nil:
	case unix.ENOSYS, unix.EPERM, unix.EACCES: // Linux 3.16; a seccomp profile; vm.memfd_noexec
		return mapping{}, errors.ErrUnsupported
	default:
		return mapping{}, fmt.Errorf("memfd_create: %w", err)
	}
	return fileMapping(fd, func() (mapping, error) {
		if overcommits("/proc/sys/vm/overcommit_memory") {
			if err := unix.Ftruncate(fd, int64(n)*8); err != nil {
				return mapping{}, fmt.Errorf("size of %d bytes: %w", n*8, err)
			}
			return mapWords(fd, n, unix.MAP_SHARED)
		}
		return reserveAndMap(fd, n)
	})
}

// overcommits says that the kernel finds memory for a page that is touched, whoever has to give way for it. If not, by
// the setting at path, it is a SIGBUS.
func overcommits(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(b)) != "2"
}

// fileMapping is what open maps of the file, with a descriptor of its own; fd is closed.
func fileMapping(fd int, open func() (mapping, error)) (m mapping, err error) {
	defer unix.Close(fd)
	if m, err = open(); err != nil {
		return mapping{}, err
	}
	if m.file, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		return mapping{}, errors.Join(err, m.close())
	}
	return m, nil
}

// importMapping maps the n words of a file that another process of ours has made. It closes fd.
func importMapping(fd, n int) (mapping, error) {
	return fileMapping(fd, func() (mapping, error) {
		if err := checkFile(fd, n); err != nil {
			return mapping{}, err
		}
		return mapWords(fd, n, unix.MAP_SHARED)
	})
}

// sinceBoot is how long this machine has been up, without the time that it slept, and a number for this time of its
// being up, never 0. Processes that see the same file see the same.
func sinceBoot() (boot uint64, up time.Duration, ok bool) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(id) == 0 {
		return 0, 0, false
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, 0, false
	}
	return xxhash.Sum64(id) | 1, time.Duration(ts.Nano()), true
}

// discard closes a descriptor that is of no use.
func discard(fd int) { unix.Close(fd) }

// isFile says that fd is the file at path.
func isFile(fd int, path string) bool {
	var a, b unix.Stat_t
	return unix.Fstat(fd, &a) == nil && unix.Lstat(path, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// openMapping maps the file of n words at path, which only we may have written.
func openMapping(path string, n int) (mapping, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return mapping{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fileMapping(fd, func() (mapping, error) {
		if err := checkFile(fd, n); err != nil {
			return mapping{}, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return mapping{}, err
		}
		if st.Mode&0o077 != 0 { // a memfd, which nobody else can open, has all bits
			return mapping{}, fmt.Errorf("a file of mode %#o, which others may touch", st.Mode&0o777)
		}
		return reserveAndMap(fd, n)
	})
}

// checkFile refuses a file that cannot be n words of ours.
func checkFile(fd, n int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("not a regular file")
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("a file of user %d", st.Uid)
	case st.Size != int64(n)*8:
		return fmt.Errorf("a file of %d bytes, not %d", st.Size, int64(n)*8)
	}
	return nil
}

// createMapping makes the file at path, mode 0600, full of zeros but for what fill writes. It gets its name last: who
// finds it finds it whole.
func createMapping(path string, n int, fill func(mapping)) (m mapping, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return mapping{}, err
	}
	temp := fmt.Sprintf("%s.%d.tmp", path, os.Getpid())
	fd, err := unix.Open(temp, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return mapping{}, &fs.PathError{Op: "create", Path: temp, Err: err}
	}
	m, err = fileMapping(fd, func() (mapping, error) { return reserveAndMap(fd, n) })
	if err == nil {
		fill(m)
		if err = os.Rename(temp, path); err == nil {
			return m, nil
		}
		err = errors.Join(err, m.close())
	}
	os.Remove(temp) // it only takes space, and err says more
	return mapping{}, err
}

// reserveAndMap takes the file's memory first: to touch a page that a full tmpfs cannot give is a SIGBUS.
func reserveAndMap(fd, n int) (mapping, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return mapping{}, fmt.Errorf("statfs: %w", err)
	}
	// Of 32 bits, its sign says nothing.
	if kind := uint32(st.Type); kind != unix.TMPFS_MAGIC && kind != unix.RAMFS_MAGIC {
		return mapping{}, errors.New("not on a tmpfs: a loop would wait for the disk")
	}
	if err := takeBytes(fd, 0, int64(n)*8); err != nil {
		return mapping{}, fmt.Errorf("take %d bytes: %w", n*8, err)
	}
	return mapWords(fd, n, unix.MAP_SHARED)
}

// takePiece is how many bytes are taken by one call: 256 pages, well below a millisecond.
const takePiece = 1 << 20

// takeBytes gives the file memory from one byte to another, and that size at least. A tmpfs gives up all that a call has
// taken when a signal arrives (Linux 6.1: EINTR), and the Go scheduler sends them: only small pieces get done under its
// fire.
func takeBytes(fd int, at, end int64) error {
	for at < end {
		piece := min(end-at, takePiece)
		switch err := unix.Fallocate(fd, 0, at, piece); err {
		case nil:
			at += piece
		case unix.EINTR:
		default:
			return err
		}
	}
	return nil
}
