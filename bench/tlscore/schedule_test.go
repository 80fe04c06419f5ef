package tlscore

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vector is from https://mailarchive.ietf.org/arch/msg/tls/fzVCzk-z3FShgGJ6DOXqM1ydxms/ (P_SHA256).
func TestPRF(t *testing.T) {
	got := prf(sha256.New, unhex(t, "9bbe436ba940f017b17652849a71db35"), "test label", unhex(t, "a0ba9f936cda311827a6f796ffd5198c"), 100)
	want := "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a" +
		"6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab4f" +
		"bc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
	if hex.EncodeToString(got) != want {
		t.Errorf("%x, want %s", got, want)
	}
}

// The vectors are of RFC 8448 section 3, "Simple 1-RTT Handshake".
func TestSchedule13(t *testing.T) {
	s := suiteOf(tls.TLS_AES_128_GCM_SHA256)
	k := newSchedule(s, nil)
	check := func(what string, got []byte, want string) {
		t.Helper()
		if !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s: %x, want %s", what, got, want)
		}
	}
	check("early secret", k.secret, "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a")
	k.next(unhex(t, "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d"))
	check("handshake secret", k.secret, "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac")
	hellos := unhex(t, "860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8")
	secret := k.derive("s hs traffic", hellos)
	check("server handshake traffic secret", secret, "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38")
	key := s.expand(secret, "key", nil, 16)
	check("server handshake key", key, "3fce516009c21727d0f2e4e86ee403bc")
	p := s.traffic(secret)
	check("server handshake IV", p.iv[:], "5d313eb2671276ee13000b30")
	k.next(nil)
	check("main secret", k.secret, "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919")
}

// RFC 9846's labels are used where this package calls expand; that the encoding is HKDF-Expand-Label is shown against
// the plain function.
func TestExpandLabel(t *testing.T) {
	s := suiteOf(tls.TLS_AES_128_GCM_SHA256)
	secret := bytes.Repeat([]byte{1}, 32)
	got := s.expand(secret, "abc", []byte{5, 6}, 20)
	want, err := hkdf.Expand(sha256.New, secret, "\x00\x14\x09tls13 abc\x02\x05\x06", 20)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
