package cluster

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
)

const (
	nonceBytes = 12
	tagBytes   = 16
)

// appendSealed appends a random nonce, then plain as AES-GCM seals it together with data. A key has 16, 24 or 32 bytes.
func appendSealed(b, key, plain, data []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // it never fails
	return aead.Seal(append(b, nonce...), nonce, plain, data), nil
}

// openSealed opens what appendSealed appended with one of the keys. It is nil if none of them opens it.
func openSealed(keys [][]byte, sealed, data []byte) ([]byte, error) {
	if len(sealed) < nonceBytes {
		return nil, nil
	}
	for _, key := range keys {
		aead, err := newAEAD(key)
		if err != nil {
			return nil, err
		}
		plain, err := aead.Open(make([]byte, 0, len(sealed)), sealed[:nonceBytes], sealed[nonceBytes:], data)
		if err == nil {
			return plain, nil
		}
	}
	return nil, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
