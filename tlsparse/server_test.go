package tlsparse

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func serverHello(version int, random, sessionID []byte, extensions ...[]byte) []byte {
	body := join(u16(version), random, vec8(sessionID), u16(0x1301), u8(0))
	if extensions != nil {
		body = append(body, vec16(extensions...)...)
	}
	return message(2, body)
}

func newSessionTicket(lifetime int, ticket []byte) []byte {
	return message(4, join(u32(lifetime), vec16(ticket)))
}

// trace feeds a stream in chunks of n bytes (0: whole) and writes the events
// down, one word each; the parts of a ticket are put together.
func trace(s *Server, stream []byte, n int) string {
	s.Reset()
	var out []string
	var ticket []byte
	for len(stream) > 0 {
		k := len(stream)
		if n > 0 {
			k = min(n, k)
		}
		chunk := stream[:k]
		stream = stream[k:]
		for {
			used, ev := s.Next(chunk)
			chunk = chunk[used:]
			if ev == EventNone {
				if len(chunk) > 0 {
					panic("none, and bytes left")
				}
				break
			}
			if ev == EventTicketPart {
				ticket = append(ticket, s.TicketPart()...)
				continue
			}
			out = append(out, describe(s, ev, ticket))
			if ev == EventTicket {
				ticket = nil
			}
			if ev == EventOpaque || ev == EventInvalid {
				return strings.Join(out, " ")
			}
		}
	}
	return strings.Join(out, " ")
}

func describe(s *Server, ev Event, ticket []byte) string {
	switch ev {
	case EventHello:
		psk := ""
		if i, ok := s.PSKAccepted(); ok {
			psk = fmt.Sprintf(",psk=%d", i)
		}
		if s.HasTicketExt() {
			psk += ",ticket"
		}
		return fmt.Sprintf("hello(%04x,id=%d%s)", s.Version(), len(s.SessionID()), psk)
	case EventTicket:
		return fmt.Sprintf("ticket(%d,%d,%x)", s.TicketLifetime(), s.TicketLen(), ticket)
	case EventMessage:
		return fmt.Sprintf("message(%d)", s.MessageType())
	case EventAlert:
		level, description := s.Alert()
		return fmt.Sprintf("alert(%d,%d)", level, description)
	}
	return strings.ReplaceAll(ev.String(), " ", "-")
}

func TestServer(t *testing.T) {
	id := fill(32, 4)
	hello12 := serverHello(0x0303, fill(32, 1), id, ext(35), ext(0xff01, u8(0)))
	hello13 := serverHello(0x0303, fill(32, 1), id, ext(43, u16(0x0304)), ext(51, fill(36, 1)))
	hello13psk := serverHello(0x0303, fill(32, 1), id, ext(43, u16(0x0304)), ext(41, u16(1)))
	retry := serverHello(0x0303, []byte(helloRetryRandom), id, ext(43, u16(0x0304)), ext(51, u16(29)))
	ticket := newSessionTicket(300, fill(3, 1))
	ccs := record(20, u8(1))
	sealed := record(22, fill(40, 1))
	for _, tt := range []struct {
		name   string
		stream []byte
		want   string
	}{
		{"full TLS 1.2", join(cut(join(hello12, message(11, fill(500, 1)), message(14, nil))), cut(ticket), ccs, sealed),
			"hello(0303,id=32,ticket) message(11) message(14) ticket(300,3,01080f) change-cipher-spec opaque"},
		{"resumed TLS 1.2", join(cut(hello12), ccs, sealed), "hello(0303,id=32,ticket) change-cipher-spec opaque"},
		{"TLS 1.3", join(cut(hello13), ccs, record(23, fill(40, 1))), "hello(0304,id=32) opaque"},
		{"TLS 1.3 with PSK", join(cut(hello13psk), ccs), "hello(0304,id=32,psk=1) opaque"},
		{"retry", join(cut(retry), ccs, cut(hello13psk), record(23, fill(40, 1))), "retry hello(0304,id=32,psk=1) opaque"},
		{"warning first", join(record(21, []byte{1, 112}), cut(hello12), ccs, sealed), "alert(1,112) hello(0303,id=32,ticket) change-cipher-spec opaque"},
		{"not TLS", []byte("HTTP/1.1 400 Bad Request"), "opaque"},
		{"a certificate first", cut(message(11, nil)), "invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Server
			for n := range len(tt.stream) + 1 {
				if got := trace(&s, tt.stream, n); got != tt.want {
					t.Fatalf("in chunks of %d:\n got %s\nwant %s", n, got, tt.want)
				}
			}
		})
	}
}

func TestSizes(t *testing.T) {
	var s Server
	s.Reset()
	if _, ev := s.Next(cut(serverHello(0x0303, fill(32, 1), fill(32, 4)))); ev != EventHello || !bytes.Equal(s.SessionID(), fill(32, 4)) {
		t.Error("session ID")
	}
	if n := reflect.TypeFor[Server]().Size(); n > 400 {
		t.Errorf("Server has %d bytes", n)
	}
	if n := reflect.TypeFor[Client]().Size(); n > 48 {
		t.Errorf("Client has %d bytes", n)
	}
}
