package unruly

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/bench/tlscore"
)

const request = "who are you?"

// serve starts a crypto/tls server that answers one request with what it was asked.
func serve(t *testing.T) string {
	t.Helper()
	cert, _ := testkit.Certificate(t, testkit.ECDSA(t), "a.test")
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	return testkit.ServeTLS(t, config, func(c net.Conn) {
		b := make([]byte, len(request))
		if n, err := c.Read(b); err == nil {
			_, _ = c.Write(b[:n]) // the client may be gone
		}
	})
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // an open socket takes any
	return c
}

// A server takes the second hello in every order, and resumes by what is in it.
func TestShake(t *testing.T) {
	addr := serve(t)
	o := tlscore.Options{ServerName: "a.test", MinVersion: tls.VersionTLS13, Verify: tlscore.VerifyNothing}
	first, err := Shake(dial(t, addr), &o, Order{})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Ask(request); err != nil || first.Session() == nil {
		t.Fatalf("no session: %v", err)
	}
	o.Session, o.First = first.Session(), &tlscore.Deviation{NoShares: true, Identities: [][]byte{make([]byte, 200)}}
	retry, err := LearnRetry(dial(t, addr), &o)
	if err != nil {
		t.Fatal(err)
	}
	change := ChangeCipherSpec()
	for i, order := range []Order{
		{},
		{With: change},
		{Before: change},
		{Behind: change},
		{With: change, Chunk: 1},
		{Ahead: -1},
		{With: change, Ahead: -1},
		{Ahead: 9},
		{Before: change, Ahead: 6},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			order.Retry = retry
			c, err := Shake(dial(t, addr), &o, order)
			if err != nil {
				t.Fatal(err)
			}
			if s := c.State(); !s.Retried || !s.Resumed {
				t.Errorf("%+v", s)
			}
			if err := c.Ask(request); err != nil {
				t.Error(err)
			}
		})
	}
	c, err := Shake(dial(t, addr), &o, Order{With: WarningAlert()})
	if err == nil {
		t.Errorf("the server takes an alert for nothing: %+v", c.State())
	}
	if _, err := Shake(dial(t, addr), &o, Order{With: EarlyData(10)}); err == nil {
		t.Error("the server skips early data that was not announced")
	}
}
