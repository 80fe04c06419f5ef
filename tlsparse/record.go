package tlsparse

// Record types (RFC 9846, Section 5.1).
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23
)

const (
	// recordMajor is the first byte of every record version since SSL 3.0.
	// The second is not looked at: clients put 0x0300 to 0x0303 there, and
	// RFC 9846, Section 5.1 has it ignored.
	recordMajor = 3

	recordHeaderLen  = 5
	messageHeaderLen = 4

	// maxPlaintext is the largest body of an unprotected record, in bytes
	// (RFC 5246, Section 6.2.1 and RFC 9846, Section 5.1).
	maxPlaintext = 1 << 14

	// maxCiphertext is the largest body of a protected record: TLS 1.2 allows
	// an expansion of 2,048 bytes (RFC 5246, Section 6.2.3), TLS 1.3 of 256.
	maxCiphertext = maxPlaintext + 2048

	// maxEmptyRecords bounds the handshake records without a byte in them.
	// TLS 1.3 forbids them and TLS 1.2 servers take some; OpenSSL stops after
	// 32 as well. The bound keeps a peer from sending framing for ever.
	maxEmptyRecords = 32
)

// Handshake message types (RFC 9846, Section 4 and RFC 5246, Section 7.4).
const (
	messageHelloRequest     = 0
	messageClientHello      = 1
	messageServerHello      = 2
	messageNewSessionTicket = 4
)

// A recordHeader is the header of a TLSPlaintext or TLSCiphertext record.
type recordHeader struct {
	typ    uint8
	major  uint8
	length uint16
}

// readRecordHeader reads as much of a record header as there is and returns the
// number of fields that are valid: 0, 1 (typ), 2 (typ and major) or 3 (all).
// The caller can so reject a stream at the first byte that tells. The cursor
// moves only when the header is whole.
func (c *cursor) readRecordHeader(h *recordHeader) (fields int) {
	s := *c
	switch {
	case !s.readUint8(&h.typ):
		return 0
	case !s.readUint8(&h.major):
		return 1
	case !s.skip(1) || !s.readUint16(&h.length):
		return 2
	}
	*c = s
	return 3
}
