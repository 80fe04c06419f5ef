package replica

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
)

// shakeHands does a handshake between two holders of node keys.
func shakeHands(t *testing.T, dialer, acceptor [][]byte) (dialled, accepted error) {
	t.Helper()
	d, err := newCredentials(dialer)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newCredentials(acceptor)
	if err != nil {
		t.Fatal(err)
	}
	x, y := tcpPair(t)
	cfg := d.config()
	cfg.ServerName = "homing"
	done := make(chan error, 1)
	go func() {
		server := tls.Server(y, a.config())
		_, err := server.Read(make([]byte, 1))
		y.Close()
		done <- err
	}()
	client := tls.Client(x, cfg)
	if _, dialled = client.Write([]byte{1}); dialled == nil {
		// TLS 1.3: the client is done before the server has judged.
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			dialled = err
		}
	}
	x.Close()
	return dialled, <-done
}

// tcpPair is the two ends of a connection over loopback.
func tcpPair(t *testing.T) (x, y net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if x, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if y, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); y.Close() })
	return x, y
}

func TestNodeKeys(t *testing.T) {
	one, two, three := nodeKey(1), nodeKey(2), nodeKey(3)
	for _, tt := range []struct {
		sentence         string
		dialer, acceptor [][]byte
		ok               bool
	}{
		{"the same key", [][]byte{one}, [][]byte{one}, true},
		{"another key", [][]byte{one}, [][]byte{two}, false},
		{"the new key is added at one node", [][]byte{one, two}, [][]byte{one}, true},
		{"it is used at one node and trusted at both", [][]byte{two, one}, [][]byte{one, two}, true},
		{"it is used before the other node trusts it", [][]byte{two, one}, [][]byte{one}, false},
		{"the old one is removed where the other still uses it", [][]byte{one, two}, [][]byte{two}, false},
		{"and where it does not", [][]byte{two}, [][]byte{two, one}, true},
		{"no key in common", [][]byte{one, two}, [][]byte{three}, false},
	} {
		for range 2 { // both ways
			d, a := shakeHands(t, tt.dialer, tt.acceptor)
			if ok := d == nil && a == nil; ok != tt.ok {
				t.Errorf("%s: %v, %v", tt.sentence, d, a)
			}
			if !tt.ok && !errors.Is(d, errNodeKey) && !errors.Is(a, errNodeKey) {
				t.Errorf("%s: neither says why: %v, %v", tt.sentence, d, a)
			}
			tt.dialer, tt.acceptor = tt.acceptor, tt.dialer
		}
	}
}

func TestNodeKeyDerivation(t *testing.T) {
	a, err := newCredentials([][]byte{nodeKey(1)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := newCredentials([][]byte{nodeKey(1)})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.own.Certificate[0], b.own.Certificate[0]) {
		t.Error("two holders of a key have different certificates")
	}
	if bytes.Contains(a.own.Certificate[0], nodeKey(1)[:8]) {
		t.Error("the key is in the certificate")
	}
	for _, keys := range [][][]byte{nil, {nodeKey(1)[:minNodeKey-1]}, {nodeKey(1), nil}} {
		if _, err := newCredentials(keys); err == nil {
			t.Errorf("%d keys pass", len(keys))
		}
	}
}

// TestStrangersAreRefused: neither an ordinary TLS client nor one without a certificate, nor TLS 1.2.
func TestStrangersAreRefused(t *testing.T) {
	c, err := newCredentials([][]byte{nodeKey(1)})
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]*tls.Config{
		"no certificate": {InsecureSkipVerify: true},
		"TLS 1.2": {
			InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
			Certificates: []tls.Certificate{c.own},
		},
	} {
		x, y := tcpPair(t)
		go func() {
			tls.Client(x, cfg).Handshake() //nolint:errcheck // the server's answer is what counts
			x.Close()
		}()
		if err := tls.Server(y, c.config()).Handshake(); err == nil {
			t.Errorf("%s: accepted", name)
		}
		y.Close()
	}
}
