package judge

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"time"

	"homing/bench/testkit"
)

// certificateOf is a certificate for a public key of a kind; "p521" and "rsa1024" are none of ours.
func certificateOf(tb testing.TB, kind string) []byte {
	tb.Helper()
	_, issuer, err := ed25519.GenerateKey(rand.Reader)
	testkit.Check(tb, err)
	curve := map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()}[kind]
	var public any = issuer.Public()
	if bits := map[string]uint{"rsa1024": 1024, "rsa2048": 2048, "rsa3072": 3072, "rsa4096": 4096}[kind]; bits > 0 {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		public = &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
	} else if curve != nil {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		testkit.Check(tb, err)
		public = &key.PublicKey
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1_900_000_000, 0), DNSNames: []string{"site.example"}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, public, issuer)
	testkit.Check(tb, err)
	return der
}

func vec24(b []byte) []byte {
	return append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
}

// certificateMessage is a Certificate message of TLS <= 1.2, with a chain.
func certificateMessage(leaf []byte) []byte {
	return message(11, vec24(append(vec24(leaf), vec24(make([]byte, 700))...)))
}

// records cuts messages into records of up to n bytes.
func records(messages []byte, n int) (all []byte) {
	for part := range slices.Chunk(messages, n) {
		all = append(all, record(22, part)...)
	}
	return all
}

// The kind is found however the messages lie in records, and no other certificate is taken for one of ours.
func TestCertificateKind(t *testing.T) {
	hello := message(2, noise("hello", 80))
	for kind, want := range map[string]string{
		"rsa2048": "rsa2048", "rsa3072": "rsa3072", "rsa4096": "rsa4096", "p256": "p256", "p384": "p384", "ed25519": "ed25519",
		"p521": "", "rsa1024": "",
	} {
		t.Run(kind, func(t *testing.T) {
			all := append(slices.Clone(hello), certificateMessage(certificateOf(t, kind))...)
			for _, size := range []int{1, 5, 100, 1 << 14} {
				for what, stream := range map[string][]byte{
					"alone": records(all, size), "behind an alert": append(record(21, []byte{1, 112}), records(all, size)...),
					"followed": append(records(append(slices.Clone(all), message(14, nil)...), size), record(20, []byte{1})...),
				} {
					if got := certificateKind(leaf(stream)); got != want {
						t.Errorf("records of %d bytes, %s: %q, want %q", size, what, got, want)
					}
				}
			}
		})
	}
	long := certificateMessage(append(certificateOf(t, "p256"), make([]byte, maxLeaf)...))
	for what, stream := range map[string][]byte{
		"nothing": nil, "no certificate": records(hello, 100), "an empty chain": records(message(11, vec24(nil)), 100),
		"a long one": records(long, 1<<14), "cut": records(certificateMessage(certificateOf(t, "p256")), 1<<14)[:200],
	} {
		if got := leaf(stream); got != nil {
			t.Errorf("%s: a certificate of %d bytes", what, len(got))
		}
	}
}

// FuzzCertificate reads what a server may send for a certificate: crypto/x509 finds the same key in what it takes for one.
func FuzzCertificate(f *testing.F) {
	for _, kind := range []string{"rsa2048", "rsa3072", "p256", "p384", "p521", "ed25519"} {
		der := certificateOf(f, kind)
		f.Add(der)
		f.Add(records(append(message(2, noise("hello", 80)), certificateMessage(der)...), 1000))
	}
	f.Add(records(message(11, vec24(vec24([]byte{0x30, 0x80, 0x30, 0x80}))), 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, der := range [][]byte{b, leaf(b)} {
			kind := certificateKind(der)
			if cert, err := x509.ParseCertificate(der); err == nil && keyKind(cert.PublicKey) != kind {
				t.Errorf("%q, crypto/x509 finds %T", kind, cert.PublicKey)
			}
		}
	})
}
