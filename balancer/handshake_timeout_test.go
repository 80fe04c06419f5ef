//go:build linux

package balancer

import (
	"net"
	"strings"
	"testing"
	"time"
)

// TestHandshakeTimeout: a conn whose TLS handshake does not come to its end is ended, whoever is slow and however it
// trickles; one whose handshake is over, or that speaks something else, is not.
func TestHandshakeTimeout(t *testing.T) {
	// Long enough for all the dialogs below on a busy machine.
	const limit = 3 * time.Second
	own := fixed('o')
	fresh, tls13 := hello{}, hello{tls13: true}
	flight13 := join(answer{tls13: true}.bytes(), ccs(), appData(900))
	flight12 := join(answer{id: fixed('i')}.bytes(), certificate(900), helloDone())
	r := newRig(t)
	r.serveByHand()
	r.start(func(c *Config) { c.HandshakeTimeout = limit })
	var lives []func()
	ends := map[string]string{} // by the client's address
	for _, test := range []struct {
		name   string
		first  []byte // of the client
		dialog []turn
		drip   bool   // the client sends a byte now and then
		end    string // "": it lives on
	}{
		{name: "the backend answers nothing", first: fresh.bytes(), end: "sA"},
		{name: "the client does not answer a TLS 1.3 flight", first: tls13.bytes(), dialog: []turn{backend(flight13)}, end: "cD"},
		{name: "nor a TLS 1.2 flight", first: fresh.bytes(), dialog: []turn{backend(flight12)}, end: "cD"},
		{name: "nor, with a session resumed, the Finished", first: hello{id: own}.bytes(), dialog: []turn{backend(answer{id: own}.bytes(), ccs(), finished())}, end: "cD"},
		{name: "it sends a ChangeCipherSpec and no more", first: tls13.bytes(), dialog: []turn{backend(flight13), client(ccs())}, end: "sD"},
		{name: "or a warning", first: tls13.bytes(), dialog: []turn{backend(flight13), client(alert(1, 90))}, end: "sD"},
		{name: "or one byte after another", first: tls13.bytes(), dialog: []turn{backend(flight13)}, drip: true, end: "sD"},
		{name: "or a second hello, and then nothing", first: tls13.bytes(), dialog: []turn{
			backend(answer{retry: true}.bytes(), ccs()), client(ccs(), tls13.bytes()), backend(flight13),
		}, end: "cD"},

		{name: "TLS 1.3", first: tls13.bytes(), dialog: []turn{backend(flight13), client(ccs(), appData(53))}},
		{name: "TLS 1.3, the Finished alone", first: tls13.bytes(), dialog: []turn{backend(flight13), client(ccs()), client(appData(53))}},
		{name: "TLS 1.2", first: fresh.bytes(), dialog: []turn{
			backend(flight12), client(records(22, message(16, make([]byte, 66)), 1<<14), ccs(), finished()), backend(ccs(), finished()),
		}},
		{name: "TLS 1.2 resumed", first: hello{id: own}.bytes(), dialog: []turn{backend(answer{id: own}.bytes(), ccs(), finished()), client(ccs(), finished())}},
		{name: "an answer that is not TLS", first: fresh.bytes(), dialog: []turn{backend([]byte("220 ready\r\n"))}},
		{name: "a client that is not TLS", first: []byte("GET / HTTP/1.0\r\n\r\n")},
	} {
		c := r.dial()
		write(t, c, test.first)
		b := r.arrival()
		read(t, b, len(test.first))
		r.talk(c, b, 1<<20, test.dialog...)
		if test.drip {
			go drip(c)
		}
		if test.end != "" {
			ends[c.LocalAddr().String()] = test.name + ": " + test.end
		} else {
			lives = append(lives, func() { r.talk(c, b, 1<<20, client([]byte("on")), backend([]byte("and on"))) })
		}
	}
	for _, rec := range r.ended(len(ends)) {
		want := ends[rec.Client.String()]
		if name, _, _ := strings.Cut(want, ": "); want != name+": "+rec.Termination.String() || want == "" {
			t.Errorf("ended with %v, want %q", rec.Termination, want)
		}
		if rec.Total < limit {
			t.Errorf("%s: ended after %v of %v", want, rec.Total, limit)
		}
	}
	time.Sleep(limit / 2) // by now the others would have ended too
	for _, on := range lives {
		on()
	}
}

// drip sends a record of application data, a byte at a time, until the conn has ended.
func drip(c net.Conn) {
	for _, b := range appData(4000) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
