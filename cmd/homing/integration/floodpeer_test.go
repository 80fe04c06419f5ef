package integration

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
)

// floodPeerVar tells a process of this test that it is to flood, and how.
const floodPeerVar = "HOMING_FLOOD_PEER"

const (
	// floodPrefix is the network that the flood comes from, 127.66.0.0/16: good clients have others.
	floodPrefix = 66
	// floodWorkers bounds the conns that the flood has open at once.
	floodWorkers = 256
)

// flooding is what became of a flood's conns.
type flooding struct {
	reset, answered, failed int64
	took                    time.Duration
}

func (f flooding) String() string {
	n := f.reset + f.answered + f.failed
	return fmt.Sprintf("%d conns in %v (%.0f/s): %d reset, %d answered, %d failed otherwise", n,
		f.took.Round(time.Millisecond), float64(n)/f.took.Seconds(), f.reset, f.answered, f.failed)
}

// startFlood sends n conns with the same fresh hello from floodPrefix at a rate per second, from a process of its own that
// has no claim to the CPU, as another machine would have none. The answer comes when it is through.
func startFlood(t *testing.T, addr string, hello []byte, n, rate int) func() flooding {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), floodPeerVar+"="+fmt.Sprint(addr, " ", n, " ", rate, " ", hex.EncodeToString(hello)))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	testkit.Check(t, cmd.Start())
	return func() (f flooding) {
		t.Helper()
		testkit.Check(t, cmd.Wait())
		if _, err := fmt.Sscan(out.String(), &f.reset, &f.answered, &f.failed, (*int64)(&f.took)); err != nil {
			t.Fatalf("the flood said %q: %v", out.String(), err)
		}
		return f
	}
}

// runFloodPeer is the process.
func runFloodPeer(order string) error {
	var addr, text string
	var n, rate int
	if _, err := fmt.Sscan(order, &addr, &n, &rate, &text); err != nil {
		return err
	}
	hello, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19); err != nil {
		return err
	}
	var reset, answered, failed atomic.Int64
	turns := make(chan struct{})
	var all sync.WaitGroup
	for range floodWorkers {
		all.Go(func() {
			for range turns {
				switch got, err := floodConn(addr, hello); {
				case got:
					answered.Add(1)
				case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
					reset.Add(1)
				default:
					failed.Add(1)
				}
			}
		})
	}
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for sent := 0; sent < n; {
		<-tick.C
		for due := min(n, int(time.Since(began).Seconds()*float64(rate))); sent < due; sent++ {
			turns <- struct{}{}
		}
	}
	close(turns)
	all.Wait()
	fmt.Println(reset.Load(), answered.Load(), failed.Load(), time.Since(began).Nanoseconds())
	return nil
}

// floodConn is one conn, up to the first byte of an answer.
func floodConn(addr string, hello []byte) (answered bool, err error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, floodPrefix, byte(rand.Uint32()), byte(rand.Uint32()))}}
	raw, err := d.Dial("tcp", addr)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a flood has no time for TIME_WAIT
	}
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := raw.Write(hello); err != nil {
		return false, err
	}
	_, err = raw.Read(make([]byte, 1))
	return err == nil, err
}
