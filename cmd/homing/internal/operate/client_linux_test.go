package operate

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"homing/cmd/homing/internal/api"
)

// TestAdminOfOthers: who may not look where the socket is, is told so, and not that nobody listens at another address.
func TestAdminOfOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "admin.sock")
	if got := assumeAdmin(socket); got != adminDefault {
		t.Errorf("without a socket: %s", got)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if got := assumeAdmin(socket); got != "unix:"+socket {
		t.Errorf("with one: %s", got)
	}
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if got := assumeAdmin(socket); got != "unix:"+socket {
			t.Errorf("with one of others: %s", got)
		}
		_, err = net.Dial("unix", socket)
	})
	if err == nil {
		t.Fatal("the socket lets in anybody")
	}
	unreachable := &api.UnreachableError{Address: api.Address{Network: "unix", Addr: socket}, Err: err}
	if got := unreachable.Error(); !errors.Is(err, os.ErrPermission) || !strings.Contains(got, "permission denied: ") || !strings.Contains(got, "use sudo") {
		t.Error(got)
	}
}

// asNobody has f see files as a user without rights; this goroutine alone does.
func asNobody(t *testing.T, f func()) {
	if os.Geteuid() != 0 {
		f() // mode 0 is enough
		return
	}
	runtime.LockOSThread() // and left so: the thread ends with the test
	if _, err := unix.SetfsuidRetUid(65534); err != nil {
		t.Fatal(err)
	}
	f()
	if _, err := unix.SetfsuidRetUid(0); err != nil {
		t.Fatal(err)
	}
	runtime.UnlockOSThread()
}
