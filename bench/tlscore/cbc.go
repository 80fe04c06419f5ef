package tlscore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

// cbc protects one direction of a TLS 1.2 conn with AES-CBC and HMAC, RFC 5246 section 6.2.3.2: for old servers that have
// nothing better.
type cbc struct {
	block cipher.Block
	mac   hash.Hash
}

func (s *suite) protectCBC(macKey, key []byte) *protector {
	return &protector{cbc: &cbc{sure(aes.NewCipher(key)), hmac.New(s.mac, macKey)}}
}

// sum is the MAC of a record: over its number, type and version, and the length of the plaintext.
func (c *cbc) sum(seq uint64, header, plain []byte) []byte {
	c.mac.Reset()
	b := binary.BigEndian.AppendUint64(nil, seq)
	b = append(b, header[:3]...)
	c.mac.Write(binary.BigEndian.AppendUint16(b, uint16(len(plain))))
	c.mac.Write(plain)
	return c.mac.Sum(nil)
}

// seal appends one record, header included, to dst.
func (c *cbc) seal(dst []byte, seq uint64, kind byte, plain []byte) []byte {
	header := []byte{kind, 3, 3}
	body := append(append(make([]byte, aes.BlockSize), plain...), c.sum(seq, header, plain)...)
	pad := aes.BlockSize - len(body)%aes.BlockSize
	for range pad {
		body = append(body, byte(pad-1))
	}
	_, _ = rand.Read(body[:aes.BlockSize]) // it never fails
	cipher.NewCBCEncrypter(c.block, body[:aes.BlockSize]).CryptBlocks(body[aes.BlockSize:], body[aes.BlockSize:])
	return appendVector16(append(dst, header...), body)
}

// open decrypts one record in place. It does not hide from the server, by the time it takes, whether padding or MAC was
// wrong: the client of a test has no secrets.
func (c *cbc) open(seq uint64, header, sealed []byte) (plain []byte, err error) {
	size := c.mac.Size()
	if len(sealed)%aes.BlockSize != 0 || len(sealed) < aes.BlockSize+size+1 {
		return nil, fail(alertBadRecordMAC, "a record of %d bytes that cannot be a sealed one", len(sealed))
	}
	iv, body := sealed[:aes.BlockSize], sealed[aes.BlockSize:]
	cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(body, body)
	pad := int(body[len(body)-1]) + 1
	good := pad+size <= len(body)
	if good {
		for _, b := range body[len(body)-pad:] {
			good = good && int(b) == pad-1
		}
	}
	if !good {
		return nil, fail(alertBadRecordMAC, "a record that does not open: wrong padding")
	}
	plain, sum := body[:len(body)-pad-size], body[len(body)-pad-size:len(body)-pad]
	if subtle.ConstantTimeCompare(sum, c.sum(seq, header, plain)) != 1 {
		return nil, fail(alertBadRecordMAC, "a record that does not open: wrong MAC")
	}
	return plain, nil
}
