//go:build linux

package netio

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The engine's turn: 64 bytes to it and back, with a peer that uses blocking
// calls on the same machine.
func BenchmarkPingPong(b *testing.B) {
	eachEngine(b, func(b *testing.B, r *rig) {
		once := pingPong(b, r, r.accepted)
		b.ReportAllocs()
		for b.Loop() {
			once()
		}
	})
}

// eachEngine runs a benchmark on both. cpu-ns/op is the engine's own time, which is steadier on a machine with other work.
func eachEngine(b *testing.B, run func(b *testing.B, r *rig)) {
	for name, open := range map[string]opener{"epoll": NewEpoll, "io_uring": NewUring} {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			r := newRig(b, open)
			before := threadTime(b)
			run(b, r)
			b.ReportMetric(float64(threadTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// A connection from the engine to itself: both sides' costs, with the kernel's.
func BenchmarkConnection(b *testing.B) {
	eachEngine(b, func(b *testing.B, r *rig) {
		once := connection(r)
		b.ReportAllocs()
		for b.Loop() {
			once()
		}
	})
}

// One bulky flow through the engine, from a writer to a reader on the same
// machine, as a relay moves it: by splice, or by Recv and Send.
func BenchmarkBulk(b *testing.B) {
	const chunk = 1 << 20
	for _, splice := range []bool{true, false} {
		b.Run(fmt.Sprintf("splice=%t", splice), func(b *testing.B) {
			eachEngine(b, func(b *testing.B, r *rig) {
				from, source := r.accepted()
				to, sink := r.connected()
				done := make(chan error, 2)
				total := int64(0)
				b.SetBytes(chunk)
				b.ReportAllocs()
				go func() { done <- pour(source, chunk, b.N) }()
				go func() {
					_, err := io.Copy(io.Discard, onlyReader{sink})
					done <- err
				}()
				for end := false; !end; {
					if splice {
						r.Splice(from, to)
						r.drive(OpSplice)
					} else {
						r.Recv(from)
						r.drive(OpRecv)
						if sent, errno := r.Send(to, r.last.Buf); errno != 0 {
							b.Fatal(errno)
						} else if n := r.last.N; !sent {
							r.drive(OpSend)
							r.last.N = n
						}
					}
					if r.last.Errno != 0 {
						b.Fatal(r.last.Errno)
					}
					total += int64(r.last.N)
					end = r.last.N == 0
				}
				r.Shutdown(to)
				for range 2 {
					if err := <-done; err != nil {
						b.Error(err)
					}
				}
				if total != int64(b.N)*chunk {
					b.Errorf("%d bytes of %d", total, int64(b.N)*chunk)
				}
			})
		})
	}
}

// threadTime is the CPU time of the calling thread, in nanoseconds.
func threadTime(b *testing.B) int64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// onlyReader hides the methods by which io.Copy would splice itself.
type onlyReader struct{ io.Reader }

// pour writes n chunks and FIN.
func pour(conn *net.TCPConn, chunk, n int) error {
	b := make([]byte, chunk)
	for range n {
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
	return conn.CloseWrite()
}

func BenchmarkBuffers(b *testing.B) {
	for _, held := range []int{0, 1000} {
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			p := NewBuffers(64 << 20)
			for i := range held {
				p.Get(1 << (10 + i%4))
			}
			b.ReportAllocs()
			for b.Loop() {
				p.Put(p.Get(1500))
			}
			p.shut()
		})
	}
}
