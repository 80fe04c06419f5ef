package tlscore

import (
	"crypto/hkdf"
	"crypto/hmac"
)

// schedule is the key schedule of TLS 1.3, RFC 9846 section 7.1, at one of its three secrets.
type schedule struct {
	suite  *suite
	secret []byte
}

// newSchedule begins with the early secret. psk is nil without one.
func newSchedule(s *suite, psk []byte) *schedule {
	k := &schedule{suite: s}
	k.extract(nil, psk)
	return k
}

// next goes from the early to the handshake secret (with the shared secret of the key exchange), and from there to the
// main secret (with nil).
func (k *schedule) next(secret []byte) {
	k.extract(k.derive("derived", k.suite.hash().Sum(nil)), secret)
}

func (k *schedule) extract(salt, secret []byte) {
	if secret == nil {
		secret = make([]byte, k.suite.hash().Size())
	}
	k.secret = sure(hkdf.Extract(k.suite.hash, secret, salt))
}

// derive is Derive-Secret; transcript is the hash of the messages.
func (k *schedule) derive(label string, transcript []byte) []byte {
	return k.suite.expand(k.secret, label, transcript, k.suite.hash().Size())
}

// expand is HKDF-Expand-Label.
func (s *suite) expand(secret []byte, label string, context []byte, n int) []byte {
	info := []byte{byte(n >> 8), byte(n)}
	info = appendVector8(info, append([]byte("tls13 "), label...))
	info = appendVector8(info, context)
	return sure(hkdf.Expand(s.hash, secret, string(info), n))
}

// traffic makes the protector of a traffic secret, RFC 9846 section 7.3.
func (s *suite) traffic(secret []byte) *protector {
	return s.protect(s.expand(secret, "key", nil, s.key), s.expand(secret, "iv", nil, nonceBytes))
}

// finished is the content of a Finished message, and a binder of a PSK, RFC 9846 section 4.4.4. The base secret is of the
// side that sends it.
func (s *suite) finished(base, transcript []byte) []byte {
	mac := hmac.New(s.hash, s.expand(base, "finished", nil, s.hash().Size()))
	mac.Write(transcript)
	return mac.Sum(nil)
}

// binder is the proof in the hello that the client has the PSK, RFC 9846 section 4.3.11.2. transcript is the hash up to
// and without the binders.
func (k *schedule) binder(transcript []byte) []byte {
	return k.suite.finished(k.derive("res binder", k.suite.hash().Sum(nil)), transcript)
}

// update returns the traffic secret after the given one, RFC 9846 section 7.2.
func (s *suite) update(secret []byte) ([]byte, *protector) {
	next := s.expand(secret, "traffic upd", nil, s.hash().Size())
	return next, s.traffic(next)
}
