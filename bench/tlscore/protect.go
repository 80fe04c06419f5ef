package tlscore

import (
	"crypto/cipher"
	"encoding/binary"
)

const (
	nonceBytes    = 12
	implicitBytes = 4 // part of a TLS 1.2 AES-GCM nonce that comes from the key block, RFC 5288 section 3
	explicitBytes = 8 // and the part that travels in the record
)

// protector protects one direction of a conn: RFC 5288, RFC 7905, RFC 9846 section 5.2.
type protector struct {
	cbc      *cbc // instead of all else but seq
	aead     cipher.AEAD
	iv       [nonceBytes]byte
	explicit bool
	modern   bool
	seq      uint64
	// Room for what goes to the AEAD behind an interface, which would else be allocated for each record.
	nonce [nonceBytes]byte
	aad   [13]byte
}

func (s *suite) protect(key, iv []byte) *protector {
	p := &protector{aead: sure(s.aead(key)), explicit: s.explicit, modern: s.modern}
	copy(p.iv[:], iv)
	return p
}

// setNonce makes the nonce of the next record: with its explicit part, or the IV with the sequence number over it.
func (p *protector) setNonce(explicit []byte) {
	p.nonce = p.iv
	if p.explicit {
		copy(p.nonce[implicitBytes:], explicit)
		return
	}
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], p.seq)
	for i, b := range seq {
		p.nonce[implicitBytes+i] ^= b
	}
}

// additional is what is authenticated beside a record: in TLS 1.3 its header (RFC 9846 section 5.2), in TLS 1.2 the number and the header
// with the length n of the plaintext (RFC 5246 section 6.2.3.3).
func (p *protector) additional(header []byte, n int) []byte {
	if p.modern {
		return append(p.aad[:0], header...)
	}
	b := binary.BigEndian.AppendUint64(p.aad[:0], p.seq)
	b = append(b, header[:3]...)
	return binary.BigEndian.AppendUint16(b, uint16(n))
}

// seal appends one record, header included, to dst, which must not overlap plain.
func (p *protector) seal(dst []byte, kind byte, plain []byte) []byte {
	if p.cbc != nil {
		p.seq++
		return p.cbc.seal(dst, p.seq-1, kind, plain)
	}
	start, n := len(dst), len(plain)+p.aead.Overhead()
	if p.modern {
		n++ // the type goes inside
		dst = append(dst, recordData, 3, 3, byte(n>>8), byte(n))
		aad := p.additional(dst[start:], 0)
		dst = append(append(dst, plain...), kind)
		p.setNonce(nil)
		p.seq++
		return p.aead.Seal(dst[:start+headerBytes], p.nonce[:], dst[start+headerBytes:], aad)
	}
	var explicit [explicitBytes]byte
	binary.BigEndian.PutUint64(explicit[:], p.seq) // RFC 5288 section 3 lets it be the sequence number
	if p.explicit {
		n += explicitBytes
	}
	dst = append(dst, kind, 3, 3, byte(n>>8), byte(n))
	aad := p.additional(dst[start:], len(plain))
	if p.explicit {
		dst = append(dst, explicit[:]...)
	}
	p.setNonce(explicit[:])
	p.seq++
	return p.aead.Seal(dst, p.nonce[:], plain, aad)
}

// open decrypts one record in place: its header and what follows.
func (p *protector) open(header, sealed []byte) (kind byte, plain []byte, err error) {
	kind = header[0]
	if p.cbc != nil {
		plain, err = p.cbc.open(p.seq, header, sealed)
		p.seq++
		return kind, plain, err
	}
	r := reader{b: sealed}
	var explicit []byte
	if p.explicit {
		explicit = r.bytes(explicitBytes)
	}
	n := len(r.b) - p.aead.Overhead()
	if r.bad || n < 0 || p.modern && kind != recordData {
		return 0, nil, fail(alertUnexpectedMessage, "a record of type %d and %d bytes that cannot be a sealed one", kind, len(sealed))
	}
	p.setNonce(explicit)
	plain, err = p.aead.Open(r.b[:0], p.nonce[:], r.b, p.additional(header, n))
	if err != nil {
		return 0, nil, fail(alertBadRecordMAC, "a record that does not open: %w", err)
	}
	p.seq++
	if p.modern {
		for len(plain) > 0 && plain[len(plain)-1] == 0 { // padding, RFC 9846 section 5.4
			plain = plain[:len(plain)-1]
		}
		if len(plain) == 0 {
			return 0, nil, fail(alertUnexpectedMessage, "a record without a type")
		}
		kind, plain = plain[len(plain)-1], plain[:len(plain)-1]
	}
	if len(plain) > maxPlaintext {
		return 0, nil, fail(alertRecordOverflow, "a plaintext of %d bytes", len(plain))
	}
	return kind, plain, nil
}
