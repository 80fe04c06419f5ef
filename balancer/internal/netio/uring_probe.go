//go:build linux

package netio

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Features are what this kernel's io_uring can do, as far as the engine uses it.
type Features uint32

// The features, with the kernel that brought them.
const (
	FeatureBase       Features = 1 << iota // what the engine cannot do without (5.11)
	FeatureSkip                            // no completion for what has succeeded (5.17)
	FeatureRegistered                      // the ring's descriptor can be registered (5.18)
	FeatureCoop                            // completing interrupts nobody (5.19)
	FeatureBuffers                         // a ring of receive buffers, waiting before receiving (5.19)
	FeatureDefer                           // completing waits until the loop asks, one thread submits (6.1)
	FeatureNoIowait                        // a loop that waits is idle, not waiting for a disk (6.15)
)

// AllFeatures of them.
const AllFeatures = FeatureNoIowait<<1 - 1

// fast are those without which epoll is the better engine.
const fast = FeatureBase | FeatureSkip | FeatureBuffers | FeatureDefer

// Fast reports whether io_uring is worth choosing: Linux 6.1 has what that takes.
func (f Features) Fast() bool { return f&fast == fast }

func (f Features) String() string {
	var names []string
	// In the order of the bits.
	for i, name := range [...]string{"base", "skip", "registered", "coop", "buffers", "defer", "no-iowait"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// featuresOf reads what the setup of a ring has told. What a kernel has to say of a later one stands for what came
// between.
func featuresOf(p *ringParams) Features {
	const base = featSingleMmap | featNoDrop | featSubmitStable | featFastPoll | featPoll32 | featExtArg
	var f Features
	if p.features&base == base {
		f |= FeatureBase
	}
	if p.features&featSkipSuccess != 0 {
		f |= FeatureSkip
	}
	if p.flags&setupDeferTaskrun != 0 {
		f |= FeatureDefer | FeatureRegistered | FeatureBuffers
	}
	if p.flags&setupCoopTaskrun != 0 {
		f |= FeatureCoop | FeatureRegistered | FeatureBuffers
	}
	if p.features&featNoIowait != 0 {
		f |= FeatureNoIowait
	}
	return f
}

// Probe asks the kernel whether it lets this process use io_uring, and how well. Where it does not, reason says why, in
// words for a log.
func Probe() (f Features, reason string) {
	r, err := openRing(ringSize{entries: 4, completion: 8}, AllFeatures)
	if err != nil {
		return 0, refusal(err, ringSysctl())
	}
	defer r.close()
	var p probeResult
	if _, errno := r.register(registerProbe, unsafe.Pointer(&p), probeOps); errno != 0 {
		return 0, refusal(fmt.Errorf("io_uring_register: %w", errno), ringSysctl())
	}
	for _, op := range [...]uint8{opPollAdd, opAsyncCancel, opConnect, opClose, opSend, opRecv} {
		if p.ops[op].flags&1 == 0 {
			return 0, fmt.Sprintf("the kernel's io_uring lacks operation %d, Linux 5.11 has it", op)
		}
	}
	if r.features&FeatureBuffers != 0 {
		bufs, err := newRecvBuffers(r, 1)
		if err != nil {
			return 0, refusal(err, ringSysctl())
		}
		bufs.unmap(r)
	}
	return r.features, ""
}

// ringSysctl is kernel.io_uring_disabled, or "" where there is none (before 6.6).
func ringSysctl() string {
	b, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// refusal says what err means; sysctl is ringSysctl's.
func refusal(err error, sysctl string) string {
	switch {
	case errors.Is(err, unix.ENOSYS):
		return "the kernel has no io_uring, or a seccomp profile hides it"
	case (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) && sysctl != "" && sysctl != "0":
		return "kernel.io_uring_disabled is " + sysctl
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "a seccomp profile or security module forbids it (" + err.Error() + ")"
	case errors.Is(err, unix.ENOMEM):
		return "the limit of locked memory is too low (ulimit -l, LimitMEMLOCK=)"
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return "the kernel's io_uring is too old, Linux 6.1 has what is needed (" + err.Error() + ")"
	}
	return err.Error()
}
