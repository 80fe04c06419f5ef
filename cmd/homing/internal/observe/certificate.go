package observe

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"homing/cmd/homing/internal/observe/judge"
)

// certificates is the kinds whose signatures are measured, by their words.
func certificates() map[string]string {
	return map[string]string{
		"rsa2048": "RSA 2048", "rsa3072": "RSA 3072", "rsa4096": "RSA 4096", "p256": "ECDSA P-256", "p384": "ECDSA P-384",
		"ed25519": "Ed25519",
	}
}

func checkCertificate(s string) error {
	if _, ok := certificates()[s]; ok {
		return nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 && d < time.Minute {
		return nil
	}
	return errors.New("not known: give rsa2048, rsa3072, rsa4096, p256, p384 or ed25519, or a time such as 900us")
}

// price says what the signatures of the lost resumptions take of a server. Nothing else in a full handshake costs as much;
// the key exchange is made in a resumption of TLS 1.3 too.
func price(f *judge.Findings, given string) {
	if f.Costs.Handshakes == 0 {
		return
	}
	if given != "" {
		priceOne(f, given, judge.CertificateGiven, f.Costs.Handshakes)
		return
	}
	var kinds []string
	handshakes := map[string]uint64{}
	for _, c := range f.Costs.Certificates {
		if handshakes[c.Kind] += c.Handshakes; c.Kind != "" && !slices.Contains(kinds, c.Kind) {
			kinds = append(kinds, c.Kind)
		}
	}
	for _, kind := range kinds {
		priceOne(f, kind, judge.CertificateRead, handshakes[kind])
	}
	if n := handshakes[""]; n > 0 {
		priceOne(f, "rsa2048", judge.CertificateAssumed, n)
		priceOne(f, "p256", judge.CertificateAssumed, n)
	}
}

// priceOne says what n signatures take with a kind of certificate, or of a time that is given in its place.
func priceOne(f *judge.Findings, kind, how string, n uint64) {
	c := judge.CPU{Certificate: certificates()[kind], How: how, Handshakes: n}
	if c.Certificate == "" {
		d, err := time.ParseDuration(kind)
		if err != nil {
			return
		}
		c.Certificate, c.Each = "as given", d.Seconds()
	} else if c.Each = signature(kind).Seconds(); c.Each == 0 {
		return
	}
	c.All = c.Each * float64(n)
	f.Costs.CPU = append(f.Costs.CPU, c)
}

// signature measures how long this machine takes to sign as a server does in a handshake: the least of some, for whatever
// else the machine does only adds to it. 0: no key could be made.
func signature(kind string) (least time.Duration) {
	signer, err := newSigner(kind)
	if err != nil {
		return 0
	}
	sum := sha256.Sum256([]byte(kind))
	digest := sum[:]
	var opts crypto.SignerOpts = crypto.SHA256
	switch signer.(type) {
	case ed25519.PrivateKey: // signs the whole: 64 spaces, a label of 33 bytes, a zero, and the transcript's hash (same place)
		digest, opts = make([]byte, 64+33+1+sha256.Size), crypto.Hash(0)
	case *rsa.PrivateKey:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256} // RFC 9846, Section 4.5.2
	}
	const most, enough = 50, 100 * time.Millisecond
	sample := 20 * clockStep()
	begun := time.Now()
	for n := 0; n < most && time.Since(begun) < enough || n < 3; n++ {
		at, signed, took := time.Now(), 0, time.Duration(0)
		for ; signed == 0 || took < sample; took = time.Since(at) {
			if _, err := signer.Sign(rand.Reader, digest, opts); err != nil {
				return 0
			}
			signed++
		}
		if each := took / time.Duration(signed); least == 0 || each < least {
			least = each
		}
	}
	return least
}

// clockStep is how far the clock goes at a time: less than a microsecond on Linux, up to 16 ms on Windows.
func clockStep() time.Duration {
	begun := time.Now()
	for {
		if d := time.Since(begun); d > 0 {
			return d
		}
	}
}

func newSigner(kind string) (crypto.Signer, error) {
	switch kind {
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case "p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "rsa4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return rsa.GenerateKey(rand.Reader, 2048)
}
