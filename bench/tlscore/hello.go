package tlscore

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
)

// maker makes the hellos of one handshake: what does not change between the first and the one behind a
// HelloRetryRequest (RFC 9846 section 4.1.2) is drawn once.
type maker struct {
	o         *Options // the conn's
	shape     *Shape
	shares    *shares
	random    []byte
	sessionID []byte
	order     []Extension
	grease    [greaseCount]uint16
	offered   Kind
	early     *schedule // at the early secret, when a PSK is offered
	sendEarly bool      // the hello says that 0-RTT data follows

	retried    bool
	retryGroup tls.CurveID // 0: the share stays
	cookie     []byte
}

// Indexes of the GREASE values of one hello, RFC 8701 section 3.
const (
	greaseSuite = iota
	greaseGroup
	greaseVersion
	greaseFirst
	greaseLast
	greaseCount
)

func newMaker(o *Options) (*maker, error) {
	m := &maker{o: o, shape: o.shape(), shares: &shares{common: o.Shares}, offered: o.kind()}
	draw := make([]byte, 32+32+greaseCount)
	_, _ = rand.Read(draw) // it never fails
	m.random = draw[:32]
	switch {
	case m.offered == OfferID:
		m.sessionID = o.Session.ID
	case m.offered == OfferTicket || o.modern():
		// Beside a ticket the server echoes it when it accepts (RFC 5077 section 3.4); TLS 1.3 sends it for the sake of
		// boxes on the way (RFC 9846 appendix E.4).
		m.sessionID = draw[32:64]
	}
	for i := range m.grease {
		m.grease[i] = uint16(draw[64+i]>>4) * 0x1010 // RFC 8701 section 2: 0x0a0a, 0x1a1a ... 0xfafa
		m.grease[i] += 0x0a0a
	}
	if m.grease[greaseLast] == m.grease[greaseFirst] { // no extension twice
		m.grease[greaseLast] ^= 0x1010
	}
	m.order = slices.Clone(m.shape.Extensions)
	if m.shape.Shuffle {
		mathrand.Shuffle(len(m.order), func(i, j int) { m.order[i], m.order[j] = m.order[j], m.order[i] })
	}
	if m.offered == OfferPSK {
		s := o.Session
		cipher := suiteOf(s.Suite)
		if cipher == nil {
			return nil, &SuiteError{s.Suite}
		}
		m.early = newSchedule(cipher, s.secret)
		m.sendEarly = len(o.EarlyData) > 0 && uint64(len(o.EarlyData)) <= uint64(s.MaxEarlyData)
	}
	return m, nil
}

// message returns the hello, RFC 5246 section 7.4.1.2 and RFC 9846 section 4.1.2. before is what the transcript holds
// before it: nothing, or the first hello and the HelloRetryRequest.
func (m *maker) message(before []byte) ([]byte, error) {
	ext := m.extensions()
	b := binary.BigEndian.AppendUint16(nil, tls.VersionTLS12)
	b = append(b, m.random...)
	b = appendVector8(b, m.sessionID)
	b = appendVector16(b, uint16s(m.suites()...))
	b = appendVector8(b, []byte{0}) // no compression
	var psk []byte
	var binder, binders int
	if m.offered == OfferPSK {
		psk, binder, binders = m.preSharedKey()
	}
	// RFC 7685: the padding counts with its own header of 4 bytes, and goes before pre_shared_key, which must be last.
	size := 4 + len(b) + 2 + len(ext) + len(psk)
	if room := orDefault(m.deviates().PadTo, m.o.PadTo) - size; room > 0 {
		ext = appendExtension(ext, extensionPadding, make([]byte, max(0, room-4)))
	}
	if len(ext)+len(psk) > 0xffff {
		return nil, fmt.Errorf("extensions of %d bytes do not fit into a hello", len(ext)+len(psk))
	}
	msg := message(typeClientHello, appendVector16(b, append(ext, psk...)))
	if binder == 0 {
		return msg, nil
	}
	// The binder is over the hello up to and without the list of binders.
	h := m.early.suite.hash()
	h.Write(before)
	h.Write(msg[:len(msg)-binders])
	copy(msg[len(msg)-binder:], m.early.binder(h.Sum(nil)))
	return msg, nil
}

// suites returns the cipher suites of the versions offered.
func (m *maker) suites() []uint16 {
	list := m.o.Suites
	if list == nil {
		list = m.shape.Suites
	}
	var out []uint16
	if m.shape.Grease {
		out = append(out, m.grease[greaseSuite])
	}
	for _, id := range list {
		if modern := id>>8 == 0x13; modern && m.o.modern() || !modern && m.o.classic() {
			out = append(out, id)
		}
	}
	return out
}

func (m *maker) groups() []tls.CurveID {
	if m.o.Groups != nil {
		return m.o.Groups
	}
	return m.shape.Groups
}

// extensions returns all extensions but padding and pre_shared_key.
func (m *maker) extensions() []byte {
	var b []byte
	if m.shape.Grease {
		b = appendExtension(b, m.grease[greaseFirst], nil)
	}
	for _, e := range m.order {
		if body, ok := m.extension(&e); ok {
			b = appendExtension(b, e.ID, body)
		}
	}
	if m.sendEarly && !m.retried || m.deviates().EarlyData { // RFC 9846 section 4.1.2: not in the second hello
		b = appendExtension(b, extensionEarlyData, nil)
	}
	if len(m.cookie) > 0 {
		b = appendExtension(b, extensionCookie, appendVector16(nil, m.cookie))
	}
	if m.shape.Grease {
		b = appendExtension(b, m.grease[greaseLast], []byte{0})
	}
	return b
}

// extension returns the body of one extension, and whether the hello has it.
func (m *maker) extension(e *Extension) (body []byte, ok bool) {
	switch e.ID {
	case extensionServerName:
		name := m.serverName()
		if _, err := netip.ParseAddr(name); err == nil || name == "" { // RFC 6066 section 3: no addresses
			return nil, false
		}
		return appendVector16(nil, appendVector16([]byte{0}, []byte(name))), true
	case extensionGroups:
		groups := uint16s(m.groups()...)
		if m.shape.Grease {
			groups = append(uint16s(m.grease[greaseGroup]), groups...)
		}
		return appendVector16(nil, groups), true
	case extensionSignatures:
		return appendVector16(nil, uint16s(m.shape.Signatures...)), true
	case extensionPointFormats:
		return appendVector8(nil, []byte{0}), m.o.classic()
	case extensionExtendedMaster:
		return nil, m.o.classic()
	case extensionRenegotiation:
		return []byte{0}, m.o.classic()
	case extensionALPN:
		var list []byte
		for _, p := range m.alpn() {
			list = appendVector8(list, []byte(p))
		}
		return appendVector16(nil, list), len(list) > 0
	case extensionSessionTicket:
		if m.offered == OfferTicket {
			return m.o.Session.Ticket, true
		}
		return nil, m.o.Tickets && m.o.classic()
	case extensionSupportedVersions:
		return m.versions(), m.o.modern()
	case extensionPSKModes:
		return []byte{1, 1}, m.o.modern() // psk_dhe_ke
	case extensionKeyShare:
		if !m.o.modern() {
			return nil, false
		}
		return m.keyShares(), true
	case extensionECH:
		return m.greaseECH(e), m.o.modern()
	case extensionCompressCert:
		return e.Body, m.o.modern()
	case extensionApplication:
		return e.Body, m.o.modern() && slices.Contains(m.o.ALPN, "h2")
	default:
		return m.filler(e.Body, e.Random), true
	}
}

// compressed reports whether the hello asks for compressed certificates.
func (m *maker) compressed() bool {
	return slices.ContainsFunc(m.order, func(e Extension) bool { return e.ID == extensionCompressCert })
}

// greaseECH is what a client without the server's ECH keys sends in their place, RFC 9849 section 6.2.
func (m *maker) greaseECH(e *Extension) []byte {
	const outer, enc = 0, 32
	rest := m.filler(nil, 1+enc+e.Random)
	b := append([]byte{outer}, e.Body...)
	b = append(b, rest[0]) // config_id
	b = appendVector16(b, rest[1:1+enc])
	return appendVector16(b, rest[1+enc:])
}

// filler returns bytes with so many random ones behind, the same in both hellos of a handshake.
func (m *maker) filler(b []byte, n int) []byte {
	if n == 0 {
		return b
	}
	draw := mathrand.NewChaCha8([32]byte(m.random)) // it need not be secret, and the random is the same in both
	out := append(slices.Clone(b), make([]byte, n)...)
	_, _ = draw.Read(out[len(b):]) // it never fails
	return out
}

func (m *maker) versions() []byte {
	var list []uint16
	if m.shape.Grease {
		list = append(list, m.grease[greaseVersion])
	}
	list = append(list, tls.VersionTLS13)
	if m.o.classic() {
		list = append(list, tls.VersionTLS12)
	}
	return appendVector8(nil, uint16s(list...))
}

func (m *maker) keyShares() []byte {
	var list []byte
	if m.shape.Grease && !m.retried {
		list = appendVector16(uint16s(m.grease[greaseGroup]), []byte{0})
	}
	for _, g := range m.sharedGroups() {
		list = appendVector16(append(list, uint16s(g)...), m.shares.public(g))
	}
	return appendVector16(nil, list)
}

// sharedGroups returns the groups for which the hello has a key share.
func (m *maker) sharedGroups() []tls.CurveID {
	switch {
	case m.deviates().NoShares:
		return nil
	case m.retryGroup != 0:
		return []tls.CurveID{m.retryGroup}
	case m.o.Groups != nil:
		return m.o.Groups[:1]
	default:
		return m.shape.Shares
	}
}

// Hello returns the bytes of a hello that a conn would send, in its records, none encrypted.
func (o *Options) Hello() ([]byte, error) {
	c, err := New(o)
	if err != nil {
		return nil, err
	}
	return c.Output()[:c.HelloLen()], nil
}

// firstVersion is what the records of the first hello say, for the sake of old servers (RFC 9846 section 5.1).
const firstVersion = tls.VersionTLS10

// appendHello puts a hello into records of at most so many bytes, 0: what the options say.
func (o *Options) appendHello(b, msg []byte, version uint16, most int) []byte {
	for part := range slices.Chunk(msg, o.recordBytes(most)) {
		b = appendVector16(append(b, recordHandshake, byte(version>>8), byte(version)), part)
	}
	return b
}
