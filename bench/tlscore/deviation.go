package tlscore

import "encoding/binary"

// Deviation is what one hello says otherwise than Options have it: what a client may say that keeps to no rule, and to RFC 9846
// section 4.2.2 least of all. It is for tests of those who read hellos and must not be misled by them.
type Deviation struct {
	// Identities are those of pre_shared_key, if a TLS 1.3 session is offered; a nil one stands for the session's, the binders of
	// the others are zeros. None: the session's alone.
	Identities [][]byte
	// NoIdentities leaves pre_shared_key out.
	NoIdentities bool
	// NoShares leaves key_share without one, so that a server asks for another hello.
	NoShares bool
	// EarlyData has the hello announce early data, which is not sent.
	EarlyData bool
	// ServerName, ALPN, PadTo and RecordBytes take the place of those in Options, unless they are zero.
	ServerName         string
	ALPN               []string
	PadTo, RecordBytes int
}

// deviates returns what the next hello says otherwise.
func (m *maker) deviates() *Deviation {
	d := m.o.First
	if m.retried {
		d = m.o.Second
	}
	if d == nil {
		return &Deviation{}
	}
	return d
}

func (m *maker) serverName() string { return orDefault(m.deviates().ServerName, m.o.ServerName) }
func (o *Options) recordBytes(own int) int {
	return orDefault(own, orDefault(o.RecordBytes, maxPlaintext))
}

func (m *maker) alpn() []string {
	if d := m.deviates(); d.ALPN != nil {
		return d.ALPN
	}
	return m.o.ALPN
}

// identities returns those of pre_shared_key, and which one is the session's, -1 for none.
func (m *maker) identities() (list [][]byte, own int) {
	d := m.deviates()
	if d.NoIdentities {
		return nil, -1
	}
	if d.Identities == nil {
		return [][]byte{m.o.Session.Ticket}, 0
	}
	own = -1
	for i, id := range d.Identities {
		if id == nil {
			own, id = i, m.o.Session.Ticket
		}
		list = append(list, id)
	}
	return list, own
}

// preSharedKey is RFC 9846 section 4.3.11, all binders still zero, and where the session's binder is, counted from the end, and the
// list of them; nothing without identities.
func (m *maker) preSharedKey() (ext []byte, binder, binders int) {
	list, own := m.identities()
	if len(list) == 0 {
		return nil, 0, 0
	}
	size := m.early.suite.hash().Size()
	var ids, zeros []byte
	for _, id := range list {
		ids = binary.BigEndian.AppendUint32(appendVector16(ids, id), m.o.Session.age())
		zeros = appendVector8(zeros, make([]byte, size))
	}
	body := appendVector16(appendVector16(nil, ids), zeros)
	if own >= 0 {
		binder = (len(list)-own)*(1+size) - 1
	}
	return appendExtension(nil, extensionPreSharedKey, body), binder, 2 + len(zeros)
}
