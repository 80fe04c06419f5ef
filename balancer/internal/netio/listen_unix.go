//go:build linux

package netio

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SocketFile is the file of a listening unix socket: its path, and which file it was there. The zero value is none.
type SocketFile struct {
	path     string
	dev, ino uint64
}

// FileOf is the file at a path, if it is a socket's.
func FileOf(path string) (SocketFile, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return SocketFile{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return SocketFile{}, errors.New("there is a file that is no socket: remove it, or give another path")
	}
	return SocketFile{path: path, dev: uint64(st.Dev), ino: st.Ino}, nil //nolint:unconvert // of 32 bits on some machines
}

// SetMode gives the file other permission bits, unless another one has its path by now.
func (f SocketFile) SetMode(mode uint32) error {
	if now, err := FileOf(f.path); err != nil || now != f {
		return nil
	}
	return unix.Chmod(f.path, mode)
}

// Remove removes the file, unless another one has its path by now.
func (f SocketFile) Remove() error {
	if f.path == "" {
		return nil
	}
	if now, err := FileOf(f.path); err != nil || now != f {
		return nil // somebody was faster, or there is another
	}
	return unix.Unlink(f.path)
}

// ListenUnix opens a listening unix socket at a path, with the permission bits of mode: who may write to the file may
// connect. At no time may others.
//
// A socket file that a process has left behind, which shows in that nobody answers a connect, is removed first.
// EADDRINUSE tells that somebody listens there, or that another process is about to.
func ListenUnix(path string, mode uint32) (fd int, file SocketFile, err error) {
	// Two processes that find the same file left behind must not remove each other's new one.
	dir, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, file, fmt.Errorf("the directory %s: %w", filepath.Dir(path), err)
	}
	defer func() { _ = unix.Close(dir) }() // it lets go of the lock
	if err := unix.Flock(dir, unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return -1, file, unix.EADDRINUSE // any other error is a file system's that has no locks
	}
	if err := removeStale(path); err != nil {
		return -1, file, err
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, file, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Remove(), unix.Close(fd))
			fd = -1
		}
	}()
	// The file gets the mode of the socket, less the umask (unix_bind_bsd in the kernel's net/unix/af_unix.c).
	if err := unix.Fchmod(fd, 0); err != nil {
		return fd, file, fmt.Errorf("fchmod: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return fd, file, fmt.Errorf("bind: %w", err)
	}
	if file, err = FileOf(path); err != nil {
		return fd, file, err
	}
	if err := unix.Chmod(path, mode); err != nil {
		return fd, file, fmt.Errorf("chmod: %w", err)
	}
	return fd, file, StartListener(fd)
}

// removeStale removes the socket file of a process that is gone.
func removeStale(path string) error {
	file, err := FileOf(path)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	_ = unix.Close(fd) // nothing was sent
	switch err {
	case nil, unix.EAGAIN, unix.EPROTOTYPE: // somebody, perhaps with a full queue, or of datagrams
		return unix.EADDRINUSE
	case unix.ECONNREFUSED:
		return file.Remove()
	}
	return fmt.Errorf("asking whether somebody listens there: %w", err)
}
