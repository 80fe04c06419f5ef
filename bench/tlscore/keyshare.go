package tlscore

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/tls"
	"fmt"
)

// KeyShares holds the private keys of key exchanges, by group. Conns that share one reuse its keys, which spares the
// client most of what a key exchange costs it and hides nothing from anybody: a load harness has no secrets. It is safe
// for concurrent use.
type KeyShares struct {
	curves map[tls.CurveID]*ecdh.PrivateKey
	mlkem  *mlkem.DecapsulationKey768
}

// NewKeyShares makes a key for each of the given groups: tls.X25519, tls.CurveP256, tls.CurveP384,
// tls.X25519MLKEM768.
func NewKeyShares(groups ...tls.CurveID) (*KeyShares, error) {
	k := &KeyShares{curves: make(map[tls.CurveID]*ecdh.PrivateKey)}
	for _, g := range groups {
		if !speaks(g) {
			return nil, fmt.Errorf("tlscore: no key exchange over %v", g)
		}
		k.add(g)
	}
	return k, nil
}

// add makes the key of a group that is spoken, unless there is one.
func (k *KeyShares) add(group tls.CurveID) {
	switch {
	case k.has(group):
	case group == tls.X25519MLKEM768:
		k.mlkem = sure(mlkem.GenerateKey768())
		k.add(tls.X25519)
	default:
		k.curves[group] = sure(curveOf(group).GenerateKey(rand.Reader))
	}
}

func (k *KeyShares) has(group tls.CurveID) bool {
	if group == tls.X25519MLKEM768 {
		return k.mlkem != nil
	}
	return k.curves[group] != nil
}

// speaks reports whether the client can exchange keys over a group.
func speaks(group tls.CurveID) bool { return group == tls.X25519MLKEM768 || curveOf(group) != nil }

func curveOf(group tls.CurveID) ecdh.Curve {
	//nolint:exhaustive // the others are not spoken
	switch group {
	case tls.X25519:
		return ecdh.X25519()
	case tls.CurveP256:
		return ecdh.P256()
	case tls.CurveP384:
		return ecdh.P384()
	default:
		return nil
	}
}

// shares is what one handshake has of keys: those it shares with others, and its own.
type shares struct {
	common *KeyShares // nil without
	own    KeyShares
}

// of returns the keys in which the group is.
func (s *shares) of(group tls.CurveID) *KeyShares {
	if s.common != nil && s.common.has(group) {
		return s.common
	}
	if s.own.curves == nil {
		s.own.curves = make(map[tls.CurveID]*ecdh.PrivateKey)
	}
	s.own.add(group)
	return &s.own
}

// public returns the client's share.
func (s *shares) public(group tls.CurveID) []byte {
	k := s.of(group)
	if group == tls.X25519MLKEM768 { // draft-ietf-tls-ecdhe-mlkem section 4.1: ML-KEM first
		return join(k.mlkem.EncapsulationKey().Bytes(), k.curves[tls.X25519].PublicKey().Bytes())
	}
	return k.curves[group].PublicKey().Bytes()
}

// agree derives the shared secret from the server's share.
func (s *shares) agree(group tls.CurveID, theirs []byte) ([]byte, error) {
	k := s.of(group)
	if group != tls.X25519MLKEM768 {
		return k.agree(group, theirs)
	}
	r := reader{b: theirs}
	sealed, point := r.bytes(mlkem.CiphertextSize768), r.b
	if r.bad {
		return nil, fail(alertIllegalParameter, "a key share of %d bytes over %v", len(theirs), group)
	}
	first, err := k.mlkem.Decapsulate(sealed)
	if err != nil {
		return nil, fail(alertIllegalParameter, "the other side's key share: %w", err)
	}
	second, err := k.agree(tls.X25519, point)
	if err != nil {
		return nil, err
	}
	return join(first, second), nil
}

func (k *KeyShares) agree(group tls.CurveID, theirs []byte) ([]byte, error) {
	point, err := curveOf(group).NewPublicKey(theirs)
	if err != nil {
		return nil, fail(alertIllegalParameter, "the other side's key share: %w", err)
	}
	secret, err := k.curves[group].ECDH(point)
	if err != nil { // a point of small order
		return nil, fail(alertIllegalParameter, "the other side's key share: %w", err)
	}
	return secret, nil
}
