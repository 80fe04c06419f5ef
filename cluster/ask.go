package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// askTimeout bounds the dial and the exchange together: a network's round trips, and one retransmission.
const askTimeout = 2 * time.Second

// ask asks whoever is at an address what it says of itself. known is as parseAnswer has it.
func (m *Membership) ask(addr netip.AddrPort, known string) (word, error) {
	deadline := time.Now().Add(askTimeout)
	conn, err := m.wire.DialTimeout(hostPort(addr), askTimeout)
	if err != nil {
		return word{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return word{}, err
	}
	if m.cfg.Label != "" {
		if err := memberlist.AddLabelHeaderToStream(conn, m.cfg.Label); err != nil {
			return word{}, err
		}
	}
	question, err := appendQuestion(m.wordTo(addr))
	if err != nil {
		return word{}, err
	}
	if question, err = m.sealState(question); err != nil {
		return word{}, err
	}
	if _, err := conn.Write(question); err != nil {
		return word{}, err
	}
	plain, err := m.openState(conn)
	if err != nil {
		return word{}, err
	}
	if len(plain) > 0 && plain[0] == gossipError {
		return word{}, errors.New("it does not understand the question")
	}
	return parseAnswer(plain, addr, known)
}

// sealState encrypts a stream's message as memberlist does. Without keys it is in clear.
func (m *Membership) sealState(plain []byte) ([]byte, error) {
	if m.cfg.Keys == nil {
		return plain, nil
	}
	b := binary.BigEndian.AppendUint32([]byte{gossipEncrypt}, uint32(1+nonceBytes+len(plain)+tagBytes))
	data := append(bytes.Clone(b), m.cfg.Label...)
	return appendSealed(append(b, gossipCipher), m.cfg.Keys.ring.GetPrimaryKey(), plain, data)
}

// openState reads one message of a stream.
func (m *Membership) openState(r io.Reader) ([]byte, error) {
	if m.cfg.Keys == nil {
		return io.ReadAll(io.LimitReader(r, maxAnswerState)) // who answers closes
	}
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] != gossipEncrypt || n > maxAnswerState {
		return nil, errors.New("the answer is not encrypted, or too long")
	}
	var sealed bytes.Buffer
	if _, err := io.CopyN(&sealed, r, int64(n)); err != nil { // memory grows with what has come
		return nil, err
	}
	return openGossip(m.cfg.Keys.ring.GetKeys(), sealed.Bytes(), append(head[:], m.cfg.Label...))
}
