package tlscore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"homing/bench/testkit"
)

const serverName = "homing.test"

// request asks the test's servers for an answer.
const request = "who are you?\n"

// serve starts a crypto/tls server that answers each line of a conn with "x", and returns its address and options that trust it.
func serve(t testing.TB, key crypto.Signer, mutate func(*tls.Config)) (string, Options) {
	t.Helper()
	cert, roots := certify(t, key)
	cfg := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	if mutate != nil {
		mutate(cfg)
	}
	return testkit.ServeTLS(t, cfg, func(conn net.Conn) {
		b := make([]byte, len(request))
		for {
			if _, err := io.ReadFull(conn, b); err != nil {
				return
			}
			if _, err := io.WriteString(conn, "x"); err != nil {
				return
			}
		}
	}), Options{ServerName: serverName, Roots: roots}
}

// certify makes a certificate for serverName, and a pool that trusts it.
func certify(t testing.TB, key crypto.Signer) (*x509.Certificate, *x509.CertPool) {
	pair, roots := testkit.Certificate(t, key, serverName)
	return pair.Leaf, roots
}

func curveKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ed25519Key(t testing.TB) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// driven is a Conn over a real one.
type driven struct {
	*Conn
	raw  net.Conn
	data []byte
	room []byte // what is asked of the socket at a time
}

func drive(t testing.TB, addr string, o *Options) *driven {
	t.Helper()
	raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &driven{Conn: c, raw: raw, room: make([]byte, 4096)}
}

// step sends what is to be sent, then reads once.
func (d *driven) step() error {
	if err := d.flush(); err != nil {
		return err
	}
	n, err := d.raw.Read(d.room)
	if n > 0 {
		err = d.Receive(d.room[:n], func(plain []byte) { d.data = append(d.data, plain...) })
		_ = d.flush() // an alert: the server may be gone
	}
	return err
}

func (d *driven) flush() error {
	_, err := d.raw.Write(d.Output())
	return err
}

// until steps until a condition holds.
func (d *driven) until(cond func() bool) error {
	for !cond() {
		if err := d.step(); err != nil {
			return err
		}
	}
	return d.flush()
}

func (d *driven) shake() error { return d.until(d.Shaken) }

// ask sends a request and waits for the answer.
func (d *driven) ask() error {
	want := len(d.data) + 1
	if err := d.Write([]byte(request)); err != nil {
		return err
	}
	if err := d.until(func() bool { return len(d.data) >= want }); err != nil {
		return err
	}
	if !bytes.Equal(d.data, bytes.Repeat([]byte("x"), want)) {
		return fmt.Errorf("the answer is %q", d.data)
	}
	return nil
}

// get makes one conn with the options, exchanges a request and an answer, and returns the conn.
func get(t testing.TB, addr string, o Options) *driven {
	t.Helper()
	d := drive(t, addr, &o)
	err := d.shake()
	if err == nil {
		err = d.ask()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.CloseWrite()
	if err := d.flush(); err != nil {
		t.Fatal(err)
	}
	if err := d.until(d.Closed); err != nil {
		t.Fatalf("wait for close_notify: %v", err)
	}
	return d
}

// only makes options that offer one version.
func only(o Options, version uint16) Options {
	o.MinVersion, o.MaxVersion = version, version
	return o
}
