package capture

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nobody is the user that every system has for what should own nothing, where its files do not say otherwise.
const nobody = 65534

// DropPrivileges gives up what the process may do beyond reading what it has open: root becomes the user nobody, without groups, all
// threads lose their capabilities, and nothing that it may execute gives them back (PR_SET_NO_NEW_PRIVS). Call it when all that needs
// a privilege is open, output files and listeners as well. The error says in one line what is still there, as of a root that has
// CAP_NET_RAW alone and so cannot become another; all else is gone.
func DropPrivileges() error {
	var kept []string
	note := func(what string, err error) {
		if err != nil {
			kept = append(kept, what+" ("+err.Error()+")")
		}
	}
	if os.Geteuid() == 0 {
		uid, gid := nobodyIDs()
		note("the groups of root", syscall.Setgroups(nil))
		note("the group root", syscall.Setresgid(gid, gid, gid))
		note("the user root", syscall.Setresuid(uid, uid, uid))
	}
	if err := clearCapabilities(); err != nil && hasCapabilities() { // who stops being root loses them by that, in all threads
		note("capabilities", err)
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	note("new privileges by execution", threads(errno))
	if len(kept) == 0 {
		return nil
	}
	return fmt.Errorf("privileges are dropped but for %s", strings.Join(kept, ", "))
}

func nobodyIDs() (uid, gid int) {
	uid, gid = nobody, nobody
	u, err := user.Lookup("nobody")
	if err != nil {
		return uid, gid
	}
	if n, err := strconv.Atoi(u.Uid); err == nil && n > 0 {
		uid = n
	}
	if n, err := strconv.Atoi(u.Gid); err == nil && n > 0 {
		gid = n
	}
	return uid, gid
}

// clearCapabilities empties the sets of all threads.
func clearCapabilities() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&none)), 0)
	return threads(errno)
}

// hasCapabilities reports whether this thread has any.
func hasCapabilities() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&head, &have[0]); err != nil {
		return true
	}
	return have != [2]unix.CapUserData{}
}

// threads says what AllThreadsSyscall means by ENOTSUP.
func threads(errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return errors.New("built with cgo; take CGO_ENABLED=0, as make build does")
	}
	return errno
}
