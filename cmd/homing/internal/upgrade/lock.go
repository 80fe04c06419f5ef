//go:build linux

package upgrade

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockName is the prefix of a directory's lock in a parcel; the directory follows.
const lockName = "lock "

// ErrLocked refuses a directory that another process of homing writes to.
var ErrLocked = errors.New("another homing uses it: give each a directory of its own, or stop that one")

// Lock is the right to write to a directory. It ends with the last process that has it: an elder and its heir have it
// together (flock(2), on one open file).
type Lock struct {
	dir  string
	file *os.File // nil where the file system knows no locks
}

// Lock takes the lock of a directory, or the elder's, and makes the directory if it is not there. An error that is
// ErrLocked says that another process has it.
func (e *Estate) Lock(dir string) (*Lock, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "lock")
	if files := e.Take(lockName + dir); len(files) > 0 {
		closeAll(files[1:])
		if given := os.NewFile(uintptr(files[0]), path); isPath(given, path) {
			return &Lock{dir, given}, nil
		} else if err := given.Close(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := openLock(path)
	if err != nil {
		return nil, err
	}
	switch err := flock(file); {
	case err == nil:
		return &Lock{dir, file}, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(ErrLocked, file.Close())
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return &Lock{dir: dir}, file.Close()
	default:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
}

// openLock opens the file at path, which nobody else may have put there as a way to another: no link, of one name, no
// device or pipe, whose opening would wait.
func openLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: remove it", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Sys().(*syscall.Stat_t).Nlink > 1) {
		err = fmt.Errorf("%s is no file of its own: remove it", path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// isPath says that the file is the one at path still: who empties the directory has ended the lock.
func isPath(file *os.File, path string) bool {
	have, err := file.Stat()
	if err != nil {
		return false
	}
	want, err := os.Lstat(path)
	return err == nil && os.SameFile(have, want)
}

func flock(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var wrong error
	err = raw.Control(func(fd uintptr) { wrong = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
	return errors.Join(err, wrong)
}

// AddLock puts a lock in, which the heir has too from then on.
func (p *Parcel) AddLock(l *Lock) error {
	if l == nil || l.file == nil {
		return nil
	}
	return p.AddSocket(lockName+l.dir, l.file)
}

// Close gives this process's part in the lock back.
func (l *Lock) Close() error {
	if l == nil || l.file == nil {
		return nil
	}
	return l.file.Close()
}
