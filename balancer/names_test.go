//go:build linux

package balancer

import (
	"crypto/tls"
	"errors"
	"slices"
	"testing"
	"time"
)

// TestNames: the pool counts the server names of handshakes that were completed, fresh ones and resumptions, and no
// others.
func TestNames(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t)
			r.serveTLS(true)
			r.start()
			named := func(name string) func(*tls.Config) {
				return func(c *tls.Config) { c.ServerName = name }
			}
			conns := 0
			for name, visits := range map[string]int{"a.test": 2, "b.test": 4, "c.test": 3} {
				b := r.browser(version, named(name))
				for range visits {
					b.visit(source(conns))
					conns++
				}
			}
			// A client that does not like what it sees: its Finished never comes.
			suspicious := r.browser(version, named("d.test"), func(c *tls.Config) {
				c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("no") }
			})
			for range 5 {
				raw := r.dialFrom(source(conns))
				if err := tls.Client(raw, suspicious.cfg).Handshake(); err == nil {
					t.Error("the client was content")
				}
				raw.Close()
				conns++
			}
			r.ended(conns)
			want := []string{"b.test", "c.test", "a.test"}
			if got := r.pool.Names().Top(8, time.Now()); !slices.Equal(got, want) {
				t.Errorf("names %q, want %q", got, want)
			}
		})
	}
}
