package api

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// socketMode lets the user and the group of the process in.
const socketMode = 0o660

// Listen opens the address. A socket in the file system that nobody answers at any more gives way. The error is the system's.
func (a Address) Listen() (net.Listener, error) {
	if a.Network != "unix" {
		return net.Listen("tcp", a.Addr)
	}
	listener, err := net.Listen("unix", a.Addr)
	if errors.Is(err, syscall.EADDRINUSE) && abandoned(a.Addr) {
		if err := os.Remove(a.Addr); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		listener, err = net.Listen("unix", a.Addr)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(a.Addr, socketMode); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// abandoned reports whether nobody answers at a socket that is there: a process that was killed has left it.
func abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
