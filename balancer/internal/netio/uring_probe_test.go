//go:build linux

package netio

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This kernel's answer holds: a ring can be made, or the reason is one line.
func TestProbe(t *testing.T) {
	f, reason := Probe()
	e, err := NewUring(1 << 20)
	switch {
	case reason == "" && (err != nil || f&FeatureBase == 0):
		t.Errorf("features %v, but %v", f, err)
	case reason != "" && (err == nil || f != 0 || strings.Contains(reason, "\n")):
		t.Errorf("reason %q with features %v, but %v", reason, f, err)
	}
	if err == nil {
		e.Shut()
	}
}

// What a container's seccomp profile does to io_uring_setup(2).
func TestProbeForbidden(t *testing.T) {
	for _, tt := range []struct {
		errno syscall.Errno
		want  string
	}{
		{unix.EPERM, "seccomp"},
		{unix.EACCES, "seccomp"},
		{unix.ENOSYS, "has no io_uring"},
	} {
		t.Run(tt.errno.Error(), func(t *testing.T) {
			got := make(chan string)
			go func() {
				runtime.LockOSThread() // for good: the thread ends with the goroutine
				if err := forbid(unix.SYS_IO_URING_SETUP, tt.errno); err != nil {
					got <- err.Error()
					return
				}
				f, reason := Probe()
				c, err := Choose(KindAuto)
				_, uringErr := Choose(KindUring)
				got <- fmt.Sprintf("%d|%s|%s|%v|%v", f, reason, c.Kind, err, uringErr)
			}()
			parts := strings.Split(<-got, "|")
			if len(parts) != 5 {
				t.Skip(parts)
			}
			if parts[0] != "0" || !strings.Contains(parts[1], tt.want) || parts[2] != "epoll" || parts[3] != "<nil>" || !strings.Contains(parts[4], "--engine epoll") {
				t.Errorf("got %q", parts)
			}
		})
	}
}

// forbid makes a system call fail on this thread from now on.
func forbid(call uint32, errno syscall.Errno) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{ // seccomp(2): the number of the call is the first word
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: call},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err    error
		sysctl string
		want   string
	}{
		{unix.ENOSYS, "", "no io_uring"},
		{unix.EPERM, "2", "kernel.io_uring_disabled is 2"},
		{unix.EPERM, "1", "kernel.io_uring_disabled is 1"},
		{unix.EPERM, "0", "seccomp"},
		{unix.EPERM, "", "seccomp"},
		{unix.ENOMEM, "0", "locked memory"},
		{unix.EINVAL, "0", "too old"},
		{unix.ENOTSUP, "0", "too old"},
		{unix.EMFILE, "0", "too many open files"},
	} {
		if got := refusal(fmt.Errorf("io_uring_setup: %w", tt.err), tt.sysctl); !strings.Contains(got, tt.want) {
			t.Errorf("%v with sysctl %q: %q, want %q in it", tt.err, tt.sysctl, got, tt.want)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		ask    Kind
		has    Features
		reason string
		want   Kind
		why    string // in the line for the log, or in the error
		fails  bool
	}{
		{"a new kernel", KindAuto, AllFeatures, "", KindUring, "the kernel has base,", false},
		{"Linux 6.1", KindAuto, AllFeatures &^ FeatureNoIowait, "", KindUring, "the kernel has base,", false},
		{"Linux 5.19", KindAuto, AllFeatures &^ (FeatureDefer | FeatureNoIowait), "", KindEpoll, "lacks defer", false},
		{"none", KindAuto, 0, "it is forbidden", KindEpoll, "it is forbidden", false},
		{"asked for", KindUring, AllFeatures, "", KindUring, "asked for", false},
		{"asked for on Linux 5.11", KindUring, FeatureBase, "", KindUring, "epoll is faster", false},
		{"asked for in vain", KindUring, 0, "it is forbidden", 0, "it is forbidden", true},
		{"epoll", KindEpoll, AllFeatures, "", KindEpoll, "asked for", false},
	} {
		c, err := choose(tt.ask, tt.has, tt.reason)
		if tt.ask == KindEpoll {
			c, err = Choose(tt.ask)
		}
		why := c.Why
		if err != nil {
			why = err.Error()
		}
		if c.Kind != tt.want || (err != nil) != tt.fails || !strings.Contains(why, tt.why) {
			t.Errorf("%s: got %v, %v", tt.name, c, err)
		}
	}
}
