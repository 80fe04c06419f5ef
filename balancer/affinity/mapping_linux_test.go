package affinity

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Signals arrive as often as the scheduler sends them to a goroutine that runs for
// long. Linux 6.1 says EINTR to each; later kernels do not.
func TestMappingUnderSignals(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := unix.Getpid(), unix.Gettid()
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		every := time.NewTicker(10 * time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-over:
				return
			case <-every.C:
				_ = unix.Tgkill(pid, tid, unix.SIGURG) // the thread is there until ended
			}
		}
	}()
	const words = 32 << 20 / 8
	for range 8 {
		m, err := exportableMapping("homing-test", words)
		if err != nil {
			t.Error(err)
			break
		}
		if len(m.words) != words {
			t.Errorf("%d words, want %d", len(m.words), words)
		}
		if err := m.close(); err != nil {
			t.Error(err)
		}
	}
	close(over)
	<-ended
}
