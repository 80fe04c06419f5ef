package judge

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"maps"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"homing/cmd/homing/internal/observe/flow"
)

// What a kind of certificate is known from.
const (
	CertificateRead    = "read"         // from handshakes of TLS <= 1.2 with the same server name
	CertificateNear    = "same_service" // from others at the same service: TLS 1.3 hides it
	CertificateAssumed = "assumed"      // from nothing
	CertificateGiven   = "given"        // by a flag
)

const (
	// maxLeaf is the longest certificate that is looked into, in bytes, and maxMessages about how much of a server's
	// handshake messages is looked through for it.
	maxLeaf     = 64 << 10
	maxMessages = maxLeaf + 32<<10

	// certificateEvery is the least time between two looks at the certificates of one service and name, whatever they hold: a
	// second kind, or another one, is found all the same. latestKinds is how many looks say which kinds there are.
	certificateEvery = time.Second
	latestKinds      = 8
)

// Wire values of RFC 5246.
const (
	recordHandshake    = 22
	messageCertificate = 11
)

// certificateKey is whose certificates are told apart. There is one where there is a row.
type certificateKey struct {
	service uint32
	name    string
}

// certificates is what was seen at the latest looks.
type certificates struct {
	looked time.Time
	kinds  [latestKinds]string // "": none yet
	n      int
}

// lookAtCertificate reads the kind of the certificate in a full handshake of TLS <= 1.2, unless it has just done so.
func (j *Judge) lookAtCertificate(c *flow.Conn, st *conn) {
	if st.row == nil || len(c.Said) == 0 {
		return
	}
	k := certificateKey{st.row.key.service, st.row.key.name}
	s := j.certs[k]
	if s == nil {
		s = &certificates{}
		j.certs[k] = s
	} else if d := j.last.Sub(s.looked); d >= 0 && d < certificateEvery {
		return
	}
	s.looked = j.last
	if kind := certificateKind(leaf(c.Said)); kind != "" {
		s.kinds[s.n%latestKinds] = kind
		s.n++
	}
}

// leaf is the server's own certificate in the records that it has sent (RFC 5246, Section 7.4.2); nil: none.
func leaf(records []byte) []byte {
	var messages, body, list, first cryptobyte.String
	for in := cryptobyte.String(records); len(messages) < maxMessages; {
		var kind uint8
		if !in.ReadUint8(&kind) || !in.Skip(2) || !in.ReadUint16LengthPrefixed(&body) {
			break
		}
		if kind == recordHandshake {
			messages = append(messages, body...)
		}
	}
	for {
		var kind uint8
		if !messages.ReadUint8(&kind) || !messages.ReadUint24LengthPrefixed(&body) {
			return nil
		}
		if kind != messageCertificate {
			continue
		}
		if !body.ReadUint24LengthPrefixed(&list) || !list.ReadUint24LengthPrefixed(&first) || len(first) > maxLeaf {
			return nil
		}
		return first
	}
}

// certificateKind is the word for the public key of a certificate (RFC 5280, Section 4.1), as --certificate takes it; "":
// another. Nothing else of the certificate is decoded, for whoever sends it chooses what it holds.
func certificateKind(der []byte) string {
	var certificate, tbs, key cryptobyte.String
	in := cryptobyte.String(der)
	if !in.ReadASN1(&certificate, asn1.SEQUENCE) || !certificate.ReadASN1(&tbs, asn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) || !tbs.SkipASN1(asn1.INTEGER) {
		return ""
	}
	for range 4 { // signature, issuer, validity, subject
		if !tbs.SkipASN1(asn1.SEQUENCE) {
			return ""
		}
	}
	if !tbs.ReadASN1Element(&key, asn1.SEQUENCE) {
		return ""
	}
	public, err := x509.ParsePKIXPublicKey(key)
	if err != nil {
		return ""
	}
	return keyKind(public)
}

func keyKind(public any) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return map[int]string{2048: "rsa2048", 3072: "rsa3072", 4096: "rsa4096"}[k.N.BitLen()]
	case *ecdsa.PublicKey:
		return map[elliptic.Curve]string{elliptic.P256(): "p256", elliptic.P384(): "p384"}[k.Curve]
	case ed25519.PublicKey:
		return "ed25519"
	}
	return ""
}

// certificatesOfLost says which certificates the full handshakes in place of the lost resumptions took.
func (j *Judge) certificatesOfLost(counted func(*row) bool) []Certificate {
	own, near := map[certificateKey]map[string]uint64{}, map[uint32]map[string]uint64{}
	for k, s := range j.certs {
		own[k] = map[string]uint64{}
		if near[k.service] == nil {
			near[k.service] = map[string]uint64{}
		}
		for _, kind := range s.kinds[:min(s.n, latestKinds)] {
			own[k][kind]++
			near[k.service][kind]++
		}
	}
	sums := map[Certificate]uint64{}
	for _, r := range j.rows {
		lost := r.Lost()
		if lost == 0 || !counted(r) {
			continue
		}
		how, kinds := CertificateRead, own[certificateKey{r.key.service, r.key.name}]
		if len(kinds) == 0 {
			how, kinds = CertificateNear, near[r.key.service]
		}
		switch {
		case len(kinds) == 0:
			sums[Certificate{How: CertificateAssumed}] += lost
			continue
		case r.key.version >= versionTLS13:
			how = CertificateNear
		}
		var all, upTo, told uint64
		for _, n := range kinds {
			all += n
		}
		for _, kind := range slices.Sorted(maps.Keys(kinds)) { // shares that add up to lost
			upTo += kinds[kind]
			part := lost*upTo/all - told
			told += part
			sums[Certificate{Kind: kind, How: how}] += part
		}
	}
	list := []Certificate{}
	for c, n := range sums {
		if c.Handshakes = n; n > 0 {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b Certificate) int {
		return cmp.Or(cmp.Compare(b.Handshakes, a.Handshakes), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.How, b.How))
	})
	return list
}
