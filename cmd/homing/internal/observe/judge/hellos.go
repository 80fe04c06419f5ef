package judge

import (
	"homing/cmd/homing/internal/observe/flow"
	"homing/tlsparse"
)

// Hellos counts first ClientHellos, and what they bring.
type Hellos struct {
	Count   uint64
	Bytes   uint64 // with their message headers
	Longest int
	Sizes   [7]uint64 // up to each of HelloSizes, and beyond

	TLS13       uint64 // that speak it
	PostQuantum uint64 // with a key share of ML-KEM or Kyber
	ECH         uint64 // with an encrypted_client_hello extension, real or GREASE
	EarlyData   uint64
	NoName      uint64
	Retries     uint64 // that a server answered with a HelloRetryRequest
}

// HelloSizes are the bounds of Hellos.Sizes, in bytes. What is up to 1,400 fits into one segment.
func HelloSizes() [6]int { return [...]int{300, 600, 1400, 2000, 4000, 16000} }

func (k *Hellos) add(h *tlsparse.Hello, size int) {
	k.Count++
	k.Bytes += uint64(size)
	k.Longest = max(k.Longest, size)
	at := 0
	for _, most := range HelloSizes() {
		at += int(one(size > most))
	}
	k.Sizes[at]++
	k.TLS13 += one(h.TLS13)
	k.ECH += one(h.ECH)
	k.EarlyData += one(h.EarlyData)
	k.NoName += one(len(h.ServerName()) == 0)
	for group, rest, ok := tlsparse.NextKeyShare(h.KeyShares); ok; group, rest, ok = tlsparse.NextKeyShare(rest) {
		if postQuantum(group) {
			k.PostQuantum++
			break
		}
	}
}

// postQuantum reports whether a group is of ML-KEM or Kyber, alone or with a curve (the IANA registry "TLS Supported
// Groups").
func postQuantum(group uint16) bool {
	switch group {
	case 0x0200, 0x0201, 0x0202, // ML-KEM 512, 768, 1024
		0x11eb, 0x11ec, 0x11ed, // SecP256r1MLKEM768, X25519MLKEM768, SecP384r1MLKEM1024
		0x6399, 0x639a, // X25519Kyber768Draft00, SecP256r1Kyber768Draft00
		0xfe30, 0xfe31: // earlier drafts
		return true
	}
	return false
}

func one(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}

// Conns counts conns that are no handshake to judge, beside all.
type Conns struct {
	Opened     uint64
	Opaque     uint64 // that do not begin as TLS
	Invalid    uint64 // that break its rules
	Silent     uint64 // that ended without a hello
	Nameless   uint64 // hellos with several server names, or one that is none: homing takes them as fresh
	Unanswered uint64 // hellos that no ServerHello answered

	Unjudged       [flow.NumEnds]uint64 // that were not seen to the end of their handshake, by why
	UnjudgedOffers uint64               // of them, with an offer that was read
}

func (k *Conns) unjudged(why flow.End) { k.Unjudged[why]++ }
