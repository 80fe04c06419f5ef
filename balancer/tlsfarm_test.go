//go:build linux

package balancer

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"

	"homing/bench/testkit"
	"homing/bench/tlsserver"
)

// newCertificate is shared: making one costs more than a test.
var newCertificate = sync.OnceValue(func() tls.Certificate {
	own, err := tlsserver.New(tlsserver.ECDSA, "a.test", "b.test")
	if err != nil {
		panic(err)
	}
	pair, err := own.TLS()
	if err != nil {
		panic(err)
	}
	return pair
})

// tlsServer is a TLS server that says its index and waits for the client's end. names: its tickets begin, as OpenSSL's
// do, with a name of 16 bytes. It has ticket keys of its own.
func tlsServer(index byte, names bool, edit ...func(*tls.Config)) func(net.Conn) {
	cfg := &tls.Config{Certificates: []tls.Certificate{newCertificate()}}
	if names {
		tlsserver.NewTicketKey().Configure(cfg)
	}
	for _, f := range edit {
		f(cfg)
	}
	return func(raw net.Conn) {
		c := tls.Server(raw, cfg)
		if _, err := c.Write([]byte{index}); err == nil {
			testkit.Silence(c)
		}
	}
}

// serveTLS adds a tlsServer.
func (r *rig) serveTLS(names bool, edit ...func(*tls.Config)) *server {
	r.Helper()
	handle := tlsServer(byte(len(r.servers)), names, edit...)
	return r.serve(func(raw *net.TCPConn) { handle(raw) })
}

// browser is one TLS client with a session cache of its own.
type browser struct {
	rig *rig
	cfg *tls.Config
}

func (r *rig) browser(version uint16, edit ...func(*tls.Config)) *browser {
	cfg := &tls.Config{
		ServerName: "a.test", InsecureSkipVerify: true, MinVersion: version, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	for _, f := range edit {
		f(cfg)
	}
	return &browser{rig: r, cfg: cfg}
}

// visit makes one connection from an address and says which server answered and whether it resumed.
func (b *browser) visit(from netip.Addr) (server byte, resumed bool) {
	b.rig.Helper()
	raw := b.rig.dialFrom(from)
	defer raw.Close()
	c := tls.Client(raw, b.cfg)
	var index [1]byte
	if _, err := io.ReadFull(c, index[:]); err != nil {
		b.rig.Fatalf("visit: %v", err)
	}
	resumed = c.ConnectionState().DidResume
	if err := c.Close(); err != nil {
		b.rig.Errorf("visit: close: %v", err)
	}
	return index[0], resumed
}
