package tlscore

import (
	"crypto/hkdf"
	"crypto/hmac"
	"fmt"
)

// schedule is the key schedule of TLS 1.3, RFC 9846 section 7.1, at one of its three secrets.
type schedule struct {
	suite  *suite
	secret []byte
}

// newSchedule begins with the early secret. psk is nil without one.
func newSchedule(s *suite, psk []byte) (*schedule, error) {
	k := &schedule{suite: s}
	return k, k.extract(nil, psk)
}

// next goes from the early to the handshake secret (with the shared secret of the key exchange), and from there to the
// main secret (with nil).
func (k *schedule) next(secret []byte) error {
	salt, err := k.derive("derived", k.suite.hash().Sum(nil))
	if err != nil {
		return err
	}
	return k.extract(salt, secret)
}

func (k *schedule) extract(salt, secret []byte) error {
	if secret == nil {
		secret = make([]byte, k.suite.hash().Size())
	}
	var err error
	if k.secret, err = hkdf.Extract(k.suite.hash, secret, salt); err != nil {
		return fmt.Errorf("derive keys: %w", err)
	}
	return nil
}

// derive is Derive-Secret; transcript is the hash of the messages.
func (k *schedule) derive(label string, transcript []byte) ([]byte, error) {
	return k.suite.expand(k.secret, label, transcript, k.suite.hash().Size())
}

// expand is HKDF-Expand-Label.
func (s *suite) expand(secret []byte, label string, context []byte, n int) ([]byte, error) {
	info := []byte{byte(n >> 8), byte(n)}
	info = appendVector8(info, append([]byte("tls13 "), label...))
	info = appendVector8(info, context)
	out, err := hkdf.Expand(s.hash, secret, string(info), n)
	if err != nil {
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	return out, nil
}

// traffic makes the protector of a traffic secret, RFC 9846 section 7.3.
func (s *suite) traffic(secret []byte) (*protector, error) {
	key, err := s.expand(secret, "key", nil, s.key)
	if err != nil {
		return nil, err
	}
	iv, err := s.expand(secret, "iv", nil, nonceBytes)
	if err != nil {
		return nil, err
	}
	return s.protect(key, iv)
}

// finished is the content of a Finished message, and a binder of a PSK, RFC 9846 section 4.4.4. The base secret is of the
// side that sends it.
func (s *suite) finished(base, transcript []byte) ([]byte, error) {
	key, err := s.expand(base, "finished", nil, s.hash().Size())
	if err != nil {
		return nil, err
	}
	mac := hmac.New(s.hash, key)
	mac.Write(transcript)
	return mac.Sum(nil), nil
}

// binder is the proof in the hello that the client has the PSK, RFC 9846 section 4.3.11.2. transcript is the hash up to
// and without the binders.
func (k *schedule) binder(transcript []byte) ([]byte, error) {
	key, err := k.derive("res binder", k.suite.hash().Sum(nil))
	if err != nil {
		return nil, err
	}
	return k.suite.finished(key, transcript)
}

// update returns the traffic secret after the given one, RFC 9846 section 7.2.
func (s *suite) update(secret []byte) ([]byte, *protector, error) {
	next, err := s.expand(secret, "traffic upd", nil, s.hash().Size())
	if err != nil {
		return nil, nil, err
	}
	p, err := s.traffic(next)
	return next, p, err
}
