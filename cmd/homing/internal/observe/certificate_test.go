package observe

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/judge"
)

// serverWith is a server whose certificate is of a kind.
func serverWith(t *testing.T, kind string, least uint16) *tls.Config {
	t.Helper()
	key, err := newSigner(kind)
	testkit.Check(t, err)
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"site.example"}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	testkit.Check(t, err)
	return &tls.Config{MinVersion: least, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// The kinds of certificates are read where crypto/tls shows them, and priced; where TLS 1.3 hides them the report says what is
// reckoned with in their place.
func TestCertificates(t *testing.T) {
	servers := []*tls.Config{serverWith(t, "rsa2048", 0), serverWith(t, "p256", 0), serverWith(t, "ed25519", tls.VersionTLS13)}
	r := newRecording(t)
	come := func(version uint16, order ...int) {
		cfg := &tls.Config{
			ServerName: "site.example", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(0), MaxVersion: version,
		}
		for _, at := range order {
			talk, _ := speak(t, cfg, servers[at])
			r.conn("192.0.2.1", "10.0.0."+string(rune('1'+at)), talk)
		}
	}
	come(tls.VersionTLS12, 0, 1, 0, 1, 0)
	come(tls.VersionTLS13, 0, 1, 2, 0)
	backends := strings.Fields("--pcap - --backend 10.0.0.1 --backend 10.0.0.2 --backend 10.0.0.3")
	f := findings(t, r.Bytes(), backends...)
	want := []judge.Certificate{
		{Kind: "p256", How: judge.CertificateRead, Handshakes: 2},
		{Kind: "rsa2048", How: judge.CertificateRead, Handshakes: 2},
		{How: judge.CertificateAssumed, Handshakes: 1},
		{Kind: "p256", How: judge.CertificateNear, Handshakes: 1},
		{Kind: "rsa2048", How: judge.CertificateNear, Handshakes: 1},
	}
	if diff := cmp.Diff(want, f.Costs.Certificates); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	check := func(f *judge.Findings, want ...judge.CPU) {
		t.Helper()
		got := f.Costs.CPU
		for i := range got {
			if each := got[i].All / float64(got[i].Handshakes); got[i].Each <= 0 || each < got[i].Each*0.99 || each > got[i].Each*1.01 {
				t.Errorf("%+v", got[i])
			}
			got[i].Each, got[i].All = 0, 0
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	check(f, judge.CPU{Certificate: "ECDSA P-256", How: judge.CertificateRead, Handshakes: 3},
		judge.CPU{Certificate: "RSA 2048", How: judge.CertificateRead, Handshakes: 3},
		judge.CPU{Certificate: "RSA 2048", How: judge.CertificateAssumed, Handshakes: 1},
		judge.CPU{Certificate: "ECDSA P-256", How: judge.CertificateAssumed, Handshakes: 1})
	check(findings(t, r.Bytes(), append(backends, "--certificate", "p384")...),
		judge.CPU{Certificate: "ECDSA P-384", How: judge.CertificateGiven, Handshakes: 7})
	_, text, _ := command(r.Bytes(), backends...)
	for _, line := range []string{
		"server CPU of 3, RSA 2048 (", "server CPU of 3, ECDSA P-256 (", "server CPU of 1, if RSA 2048 (",
		"TLS 1.3 hides certificates: 2 handshakes are reckoned with", "The certificate of 1 handshake could not be read",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
}

// Every kind that is read can be priced, as TLS signs with it.
func TestSignatures(t *testing.T) {
	for kind := range certificates() {
		if signature(kind) <= 0 {
			t.Errorf("no time for %s", kind)
		}
	}
	for kind, want := range map[string]func(crypto.Signer) bool{
		"ed25519": func(s crypto.Signer) bool { _, ok := s.(ed25519.PrivateKey); return ok },
		"rsa3072": func(s crypto.Signer) bool { k, ok := s.(*rsa.PrivateKey); return ok && k.N.BitLen() == 3072 },
	} {
		if s, err := newSigner(kind); err != nil || !want(s) {
			t.Errorf("%s: %T, %v", kind, s, err)
		}
	}
}
