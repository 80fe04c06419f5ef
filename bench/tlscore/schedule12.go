package tlscore

import (
	"crypto/hmac"
	"hash"
)

// sure returns the result of what fails only if this package has a mistake: lengths and groups are right, and random is
// there (crypto/rand).
func sure[T any](v T, err error) T {
	if err != nil {
		panic("tlscore: " + err.Error())
	}
	return v
}

// Sizes in bytes of RFC 5246 sections 7.4.9 and 8.1.
const (
	masterBytes = 48
	verifyBytes = 12
)

// prf is TLS 1.2's pseudo-random function, RFC 5246 section 5.
func prf(hash func() hash.Hash, secret []byte, label string, seed []byte, n int) []byte {
	seed = append([]byte(label), seed...)
	mac := hmac.New(hash, secret)
	sum := func(b ...[]byte) []byte {
		mac.Reset()
		for _, p := range b {
			mac.Write(p)
		}
		return mac.Sum(nil)
	}
	var out []byte
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}

// master is the master secret: RFC 5246 section 8.1, or with the hash of the transcript the extended one, RFC 7627 section 4.
func (s *suite) master(premaster, clientRandom, serverRandom, session []byte) []byte {
	if session != nil {
		return prf(s.hash, premaster, "extended master secret", session, masterBytes)
	}
	return prf(s.hash, premaster, "master secret", join(clientRandom, serverRandom), masterBytes)
}

// protectors derives both directions' keys, RFC 5246 section 6.3.
func (s *suite) protectors(master, clientRandom, serverRandom []byte) (client, server *protector) {
	mac, iv := s.macBytes(), s.ivBytes()
	block := reader{b: prf(s.hash, master, "key expansion", join(serverRandom, clientRandom), 2*mac+2*s.key+2*iv)}
	clientMAC, serverMAC := block.bytes(mac), block.bytes(mac)
	clientKey, serverKey, clientIV, serverIV := block.bytes(s.key), block.bytes(s.key), block.bytes(iv), block.bytes(iv)
	if s.aead == nil {
		return s.protectCBC(clientMAC, clientKey), s.protectCBC(serverMAC, serverKey)
	}
	return s.protect(clientKey, clientIV), s.protect(serverKey, serverIV)
}
