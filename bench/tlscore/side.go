package tlscore

import "errors"

// side is what the client's and the server's side of a conn have in common: the record layer, and messages that come in
// any pieces.
type side struct {
	in      incoming
	out     outgoing
	pending []byte // handshake bytes that came, up to a message that is not whole
	err     error  // what ended the conn
	shaken  bool   // the handshake is over
	ended   bool   // close_notify came
}

// Output returns the bytes to be sent to the other side, and forgets them. They are valid until the next call of another
// method.
func (s *side) Output() []byte {
	if s.out.sent {
		return nil
	}
	s.out.sent = true
	return s.out.b
}

// Write seals application data into Output. It is an error before the handshake is over.
func (s *side) Write(b []byte) error {
	if !s.shaken {
		return errors.New("tlscore: write before the handshake is over")
	}
	s.out.write(recordData, b)
	return nil
}

// CloseWrite puts a close_notify into Output: no more data comes.
func (s *side) CloseWrite() { s.out.write(recordAlert, []byte{alertWarning, closeNotify}) }

// Shaken reports whether the handshake is over: the other side's Finished was right, and ours is in Output.
func (s *side) Shaken() bool { return s.shaken }

// Closed reports whether the other side said that no more data comes (close_notify).
func (s *side) Closed() bool { return s.ended }

// taker is what the sides do in their own way.
type taker interface {
	message(msg []byte) error // takes a handshake message, header and all
	changed() error           // takes a ChangeCipherSpec of TLS 1.2
}

// receive takes bytes from the other side. On an error Output holds what that is to be told of it.
func (s *side) receive(b []byte, data func(plain []byte), t taker) error {
	err := s.in.feed(b, func(record []byte) error {
		if s.ended {
			return nil // RFC 9846 section 6.1: what comes behind close_notify is ignored
		}
		return s.take(record, data, t)
	})
	if err == nil {
		return nil
	}
	if v := (*violation)(nil); errors.As(err, &v) {
		s.out.write(recordAlert, []byte{alertFatal, v.alert})
	}
	return err
}

// take opens one record and does what it asks for.
func (s *side) take(record []byte, data func([]byte), t taker) error {
	kind, body, err := s.in.unseal(record)
	if err != nil {
		return err
	}
	switch kind {
	case 0:
		return nil // it said nothing
	case recordData:
		if !s.shaken || len(s.pending) > 0 {
			return fail(alertUnexpectedMessage, "data amid the handshake")
		}
		data(body)
		return nil
	case recordAlert:
		s.ended = true
		if !s.shaken {
			return errClosed
		}
		return nil
	case recordChangeCipherSpec:
		if len(s.pending) > 0 || len(body) != 1 || body[0] != 1 {
			return fail(alertUnexpectedMessage, "a ChangeCipherSpec amid a handshake message")
		}
		return t.changed()
	case recordHandshake:
		return s.messages(body, t)
	default:
		return fail(alertUnexpectedMessage, "a record of type %d", kind)
	}
}

// messages gives each handshake message that b completes to the taker.
func (s *side) messages(b []byte, t taker) error {
	if len(s.pending) > 0 {
		s.pending = append(s.pending, b...)
		b = s.pending
	}
	for len(b) >= 4 {
		n := 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
		if n > maxMessage {
			return fail(alertDecodeError, "a handshake message of %d bytes", n)
		}
		if len(b) < n {
			break
		}
		msg := b[:n:n]
		b = b[n:]
		keys := s.in.open
		if err := t.message(msg); err != nil {
			return err
		}
		if s.in.open != keys && len(b) > 0 { // RFC 9846 section 5.1
			return fail(alertUnexpectedMessage, "a handshake message under a key that is no more")
		}
	}
	s.pending = append(s.pending[:0], b...)
	return nil
}
