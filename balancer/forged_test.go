//go:build linux

package balancer

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"homing/balancer/pool"
	"homing/balancer/proxyheader"
)

// forger is a client of a listener that takes PROXY headers from others than it, or from it once.
type forger struct {
	name    string
	trusted bool // it sends one header that it may send first
}

var forgers = []forger{{"a stranger", false}, {"behind a trusted header", true}}

func (f forger) networks() []netip.Prefix {
	if f.trusted {
		return everybody()
	}
	return []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
}

// believed is what the forger may say.
func (f forger) believed(t testing.TB) []byte {
	if !f.trusted {
		return nil
	}
	return header(t, proxyheader.V2, proxyheader.Header{Client: netip.MustParseAddrPort("192.0.2.7:1"), Local: netip.MustParseAddrPort("192.0.2.1:443")})
}

// signatures are headers, and how long their signatures are.
func signatures(t testing.TB) map[int][]byte {
	h := proxyheader.Header{Client: netip.MustParseAddrPort("192.0.2.66:1"), Local: netip.MustParseAddrPort("192.0.2.1:443")}
	return map[int][]byte{len("PROXY "): header(t, proxyheader.V1, h), 12: header(t, proxyheader.V2, h)}
}

// pieces returns once the balancer has read what the pieces come to.
func (r *rig) pieces(c net.Conn, before uint64, pieces ...[]byte) (after uint64) {
	r.Helper()
	for _, p := range pieces {
		write(r, c, p)
		before += uint64(len(p))
		r.await("the piece is read", func() bool { return r.b.Stats().BytesIn >= before })
	}
	return before
}

// A header of somebody who may not send one is refused wherever it is cut, in every mode, and no backend hears a byte
// of it.
func TestHeaderForgedInPieces(t *testing.T) {
	for _, mode := range []TLSMode{TLSAuto, TLSRequire, TLSOff} {
		for _, f := range forgers {
			t.Run(fmt.Sprint(mode, "/", f.name), func(t *testing.T) {
				r := newRig(t)
				r.serve(func(c *net.TCPConn) {
					if got, _ := io.ReadAll(c); len(got) > 0 {
						t.Errorf("a backend got %q", got)
					}
				})
				r.start(func(cfg *Config) { cfg.Listeners[0].TLS, cfg.Listeners[0].AcceptProxy = mode, f.networks() })
				conns := 0
				for n, forged := range signatures(t) {
					for cut := range n {
						in := r.b.Stats().BytesIn
						c := r.dial()
						first := [][]byte{append(f.believed(t), forged[:cut]...)}
						if f.trusted && cut%2 == 1 { // the trusted one for itself
							first = [][]byte{f.believed(t), forged[:cut]}
						}
						for _, piece := range first {
							if len(piece) > 0 {
								in = r.pieces(c, in, piece)
							}
						}
						write(t, c, forged[cut:])
						conns++
						if rec := r.last(conns); rec.Refused != RefusedHeader || rec.Termination.Cause != CauseRefused {
							t.Errorf("%q behind %q: refused for %v, ended with %v", forged[cut:n], forged[:cut], rec.Refused, rec.Termination)
						}
						c.Close()
					}
				}
				if s := r.b.Stats(); s.Refused[RefusedHeader] != uint64(conns) || mode != TLSOff && s.Connects != 0 {
					t.Errorf("%d of %d refused, %d connects", s.Refused[RefusedHeader], conns, s.Connects)
				}
			})
		}
	}
}

// What only begins as a header does is passed on, wherever it is cut, in front of whatever follows: more bytes, or the
// end. Meanwhile the backend may speak.
func TestHeaderBegunOnly(t *testing.T) {
	for _, mode := range []TLSMode{TLSAuto, TLSOff} {
		for _, f := range forgers {
			for _, follows := range []string{"X-rest of it", ""} {
				t.Run(fmt.Sprint(mode, "/", f.name, "/", follows), func(t *testing.T) {
					r := newRig(t)
					r.serveByHand()
					r.start(func(cfg *Config) { cfg.Listeners[0].TLS, cfg.Listeners[0].AcceptProxy = mode, f.networks() })
					conns := 0
					for n, forged := range signatures(t) {
						for cut := 1; cut < n; cut++ {
							in := r.b.Stats().BytesIn
							c := r.dial()
							if said := f.believed(t); len(said) > 0 {
								in = r.pieces(c, in, said)
							}
							for i := range cut {
								in = r.pieces(c, in, forged[i:i+1])
							}
							var b arrival
							if mode == TLSOff { // a server may greet
								b = r.arrival()
								r.talk(c, b, 1<<20, backend([]byte("220 mail\r\n")))
							}
							write(t, c, []byte(follows))
							if follows == "" {
								sendFIN(c)
							}
							if mode != TLSOff {
								b = r.arrival()
							}
							if want := string(forged[:cut]) + follows; string(read(t, b, len(want))) != want {
								t.Errorf("%q has changed on its way", want)
							}
							r.talk(c, b, 1<<20, backend([]byte("an answer")))
							if follows == "" {
								if rest, err := io.ReadAll(b); len(rest) > 0 || err != nil {
									t.Errorf("behind its end the backend got %q, %v", rest, err)
								}
							} else {
								r.talk(c, b, 1<<20, client(forged)) // is data by now
							}
							b.Close()
							c.Close()
							conns++
							if rec := r.last(conns); rec.Refused != RefusedNone || rec.BytesIn < uint64(cut) {
								t.Errorf("%q: refused for %v", forged[:cut], rec.Refused)
							}
						}
					}
				})
			}
		}
	}
}

// While a client waits in the queue too, its first bytes are judged before they are kept.
func TestHeaderForgedInQueue(t *testing.T) {
	for _, forged := range signatures(t) {
		r := queueRig(t, 1, 1, pool.Options{QueueTimeout: patience}, func(cfg *Config) {
			cfg.Listeners[0].TLS, cfg.Listeners[0].AcceptProxy = TLSOff, forgers[0].networks()
		})
		first := r.dial()
		b := r.arrival()
		forger, honest, ends := r.dial(), r.dial(), r.dial()
		r.waits(3)
		r.pieces(forger, r.b.Stats().BytesIn, forged[:2])
		write(t, forger, forged[2:])
		if rec := r.ends(1, "PQ"); rec.Refused != RefusedHeader {
			t.Errorf("refused for %v", rec.Refused)
		}
		in := r.pieces(honest, r.b.Stats().BytesIn, forged[:3], []byte("x"))
		r.pieces(ends, in, forged[:4])
		sendFIN(ends)
		r.settle()
		first.Close()
		b.Close()
		got := map[string]bool{}
		for range 2 {
			b := r.arrival()
			text := make([]byte, 4)
			if _, err := io.ReadFull(b, text); err != nil {
				t.Error(err)
			}
			got[string(text)] = true
			sendRST(b)
		}
		if !got[string(forged[:3])+"x"] || !got[string(forged[:4])] {
			t.Errorf("the backends got %v", got)
		}
		r.stop()
	}
}
