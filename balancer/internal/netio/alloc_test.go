//go:build linux

package netio

import (
	"net"
	"path/filepath"
	"testing"

	"homing/balancer/netaddr"
)

var hello = []byte("hello")

func TestEpollNoAllocs(t *testing.T) { testNoAllocs(t, NewEpoll) }
func TestUringNoAllocs(t *testing.T) { testNoAllocs(t, NewUring) }

// What happens per batch, per chunk and per connection allocates nothing, on any
// engine.
func testNoAllocs(t *testing.T, open opener) {
	for _, tt := range []struct {
		name string
		prep func(t *testing.T, r *rig) (once func())
	}{
		{"ping-pong, accepted", func(t *testing.T, r *rig) func() { return pingPong(t, r, r.accepted) }},
		{"ping-pong, connected", func(t *testing.T, r *rig) func() { return pingPong(t, r, r.connected) }},
		{"splice", func(t *testing.T, r *rig) func() {
			from, source := r.accepted()
			to, sink := r.connected()
			b := make([]byte, 1<<10)
			return func() {
				_, _ = source.Write(b) // one that fails is seen by drive
				r.Splice(from, to)
				r.drive(OpSplice)
				_, _ = sink.Read(b)
			}
		}},
		{"rest", func(t *testing.T, r *rig) func() {
			s, peer := r.acceptedSmall()
			b, got := make([]byte, 64<<10), make([]byte, 64<<10)
			return func() {
				if done, errno := r.Send(s, b); done || errno != 0 {
					panic("no rest")
				}
				sending := true
				for n := 0; n < len(b); {
					m, err := peer.Read(got)
					if n += m; err != nil {
						panic(err)
					}
					_ = r.Wait(r.Now()) // an error shows as bytes that do not come
					sending = !r.Next(&r.last) && sending
				}
				if sending {
					r.drive(OpSend)
				}
			}
		}},
		{"buffers", func(_ *testing.T, r *rig) func() {
			p, b := r.Buffers(), make([]byte, 3000)
			return func() {
				buf, _ := p.Append(nil, b)
				buf, _ = p.Append(buf, b)
				p.Put(buf)
			}
		}},
		{"questions", func(t *testing.T, r *rig) func() {
			s, _ := r.accepted()
			return func() {
				if r.HasInput(s) || r.Unsent(s) != 0 || r.Stats().Socks != 1 {
					panic("not idle")
				}
			}
		}},
		{"wake", func(_ *testing.T, r *rig) func() {
			return func() {
				r.Wake()
				r.drive(OpWake)
			}
		}},
		{"connection", func(_ *testing.T, r *rig) func() { return connection(r) }},
		{"unix connection", func(t *testing.T, r *rig) func() {
			path := netaddr.Unix(filepath.Join(socketDir(t), "s"))
			fd, _, err := ListenUnix(path.Path(), 0o600)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = CloseListener(fd) }) // open
			if err := r.Listen(fd, 0, false); err != nil {
				t.Fatal(err)
			}
			return func() {
				s, _, errno := r.Engine.Connect(Source{}, path, hello, 0)
				if errno != 0 {
					panic(errno)
				}
				other := NoSock
				for connected := false; !connected || other == NoSock; {
					for !r.Next(&r.last) {
						if err := r.Wait(r.Now().Add(patience)); err != nil {
							panic(err)
						}
					}
					switch {
					case r.last.Errno != 0:
						panic(r.last.Errno)
					case r.last.Op == OpConnect:
						connected = true
					case r.last.Op == OpAccept:
						other = r.last.Sock
					}
				}
				r.Engine.Close(s, true)
				r.Engine.Close(other, true)
			}
		}},
		{"refused", func(t *testing.T, r *rig) func() {
			to := refused(t)
			return func() {
				s, _, errno := r.Engine.Connect(Source{}, netaddr.Of(to), hello, 0)
				if errno != 0 {
					return // refused at once: fine too
				}
				r.drive(OpConnect)
				r.Engine.Close(s, true)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, open)
			once := tt.prep(t, r)
			for range 10 { // slots, slabs, pipes, the run queue
				once()
			}
			if n := testing.AllocsPerRun(300, once); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// drive takes batches until op has ended. Anything else is a mistake.
func (r *rig) drive(op Op) {
	for !r.Next(&r.last) {
		if err := r.Wait(r.Now().Add(patience)); err != nil {
			panic(err)
		}
	}
	if r.last.Op != op {
		panic("another operation has ended")
	}
}

// connection returns a function that opens a connection from the engine to itself
// and resets it.
func connection(r *rig) func() {
	d := r.listen("127.0.0.1:0", 0)
	return func() {
		s, given, errno := r.Engine.Connect(Source{}, netaddr.Of(d.addr), hello, 0)
		if errno != 0 {
			panic(errno)
		}
		other := NoSock
		for connected := false; !connected || other == NoSock; {
			for !r.Next(&r.last) {
				if err := r.Wait(r.Now().Add(patience)); err != nil {
					panic(err)
				}
			}
			switch {
			case r.last.Errno != 0:
				panic(r.last.Errno)
			case r.last.Op == OpConnect:
				connected = true
				// The other side sees it when this one has said something.
				if given {
					break
				}
				if _, errno := r.Send(s, hello); errno != 0 {
					panic(errno)
				}
			default:
				other = r.last.Sock
			}
		}
		r.Engine.Close(s, true)
		r.Engine.Close(other, false)
	}
}

// pingPong returns a function that moves a few bytes through the engine and back.
func pingPong(t testing.TB, r *rig, get func() (Sock, *net.TCPConn)) func() {
	t.Helper()
	s, peer := get()
	b := make([]byte, 64)
	return func() {
		if _, err := peer.Write(b); err != nil {
			panic(err)
		}
		r.Recv(s)
		r.drive(OpRecv)
		if done, errno := r.Send(s, r.last.Buf); r.last.N != len(b) || !done || errno != 0 {
			panic("bytes are lost")
		}
		if n, err := peer.Read(b); err != nil || n != len(b) {
			panic("bytes are lost")
		}
	}
}
