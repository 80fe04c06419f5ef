//go:build linux

package netio

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"homing/balancer/netaddr"
)

func TestListenUnix(t *testing.T) {
	was := syscall.Umask(0o077) // which must not matter
	defer syscall.Umask(was)
	path := filepath.Join(socketDir(t), "s")
	fd, file, err := ListenUnix(path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 || st.Mode()&os.ModeSocket == 0 {
		t.Errorf("the file is %v, %v, want a socket of mode 0660", st.Mode(), err)
	}
	if addr, err := LocalAddr(fd); err != nil || addr != netaddr.Unix(path) {
		t.Errorf("it is bound to %v, %v", addr, err)
	}
	if shared, err := ImportListener(fd); err != nil || shared {
		t.Errorf("adopted: shared %v, %v", shared, err)
	}
	if second, _, err := ListenUnix(path, 0o600); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one: %d, %v, want EADDRINUSE", second, err)
	}
	if err := CloseListener(fd); err != nil {
		t.Fatal(err)
	}
	// The file stays, and is in nobody's way.
	fd, next, err := ListenUnix(path, 0o600)
	if err != nil {
		t.Fatalf("over a file left behind: %v", err)
	}
	defer func() { _ = CloseListener(fd) }() // a test has seen it
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", st.Mode(), err)
	}
	// Whose file has gone removes no other one's.
	if next.ino != file.ino {
		if err := file.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("another one's file was removed: %v", err)
		}
	}
	for range 2 {
		if err := next.Remove(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestListenUnixRefused(t *testing.T) {
	dir := socketDir(t)
	plain, packets := filepath.Join(dir, "plain"), filepath.Join(dir, "packets")
	if err := os.WriteFile(plain, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: packets, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for path, want := range map[string]string{
		plain:                        "no socket",
		packets:                      unix.EADDRINUSE.Error(),
		filepath.Join(dir, "x", "s"): "the directory " + filepath.Join(dir, "x"),
		filepath.Join(plain, "s"):    "the directory " + plain,
	} {
		if fd, _, err := ListenUnix(path, 0o600); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d, %v, want %q", path, fd, err, want)
		}
	}
	if b, err := os.ReadFile(plain); err != nil || string(b) != "precious" {
		t.Errorf("a file that is no socket now has %q, %v", b, err)
	}
	// Somebody else is about to take the path.
	lock, err := unix.Open(dir, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(lock, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if fd, _, err := ListenUnix(filepath.Join(dir, "s"), 0o600); !errors.Is(err, ErrInUse) {
		t.Errorf("beside somebody: %d, %v, want EADDRINUSE", fd, err)
	}
	if err := unix.Close(lock); err != nil {
		t.Fatal(err)
	}
}
