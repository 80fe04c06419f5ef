package tlsparse

import (
	"bytes"
	"fmt"
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

// trace feeds a stream in chunks of the sizes given, over and over (0: all the
// rest), and writes the events down, one word each; the parts of a ticket are put
// together.
func trace(s *Server, stream []byte, sizes ...int) string {
	s.Reset()
	var out []string
	var ticket []byte
	for i := 0; len(stream) > 0; i++ {
		k := len(stream)
		if n := sizes[i%len(sizes)]; n > 0 {
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
			if ev == EventOpaque || ev == EventInvalid || ev == EventExcess {
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
		if s.saw(extensionSessionTicket) {
			psk += ",ticket"
		}
		return fmt.Sprintf("hello(%04x,id=%d%s)", s.Version(), len(s.SessionID()), psk)
	case EventTicket:
		return fmt.Sprintf("ticket(%d,%d,%x)", s.TicketLifetime(), s.TicketLen(), ticket)
	case EventMessage:
		return fmt.Sprintf("message(%d)", s.message)
	case EventAlert:
		level, description := s.Alert()
		return fmt.Sprintf("alert(%d,%d)", level, description)
	}
	return strings.ReplaceAll(ev.String(), " ", "-")
}

// serverCases are answers of all kinds, and what is to be read in them.
func serverCases() []serverCase {
	id := fill(32, 4)
	random := fill(32, 1)
	hello12 := serverHello(0x0303, random, id, ext(35), ext(0xff01, u8(0)), ext(16, vec16(vec8([]byte("h2")))))
	hello13 := serverHello(0x0303, random, id, ext(43, u16(0x0304)), ext(51, fill(36, 1)))
	hello13psk := serverHello(0x0303, random, id, ext(43, u16(0x0304)), ext(51, fill(1124, 1)), ext(41, u16(1)))
	retry := serverHello(0x0303, []byte(helloRetryRandom), id, ext(43, u16(0x0304)), ext(51, u16(29)), ext(44, vec16(fill(60, 1))))
	ticket := newSessionTicket(300, fill(3, 1))
	certificate := message(11, fill(500, 1))
	done := message(14, nil)
	ccs := record(20, u8(1))
	sealed := record(22, fill(40, 1))
	warning := record(21, []byte{1, 112})
	in := func(msgs ...[]byte) []byte { return cut(join(msgs...)) }
	greeting := func(extensions ...[]byte) []byte { return in(serverHello(0x0303, random, id, extensions...)) }
	block := func(b ...[]byte) []byte { // a ServerHello with a hand-made extension block
		return in(message(2, join(u16(0x0303), random, vec8(id), u16(0x1301), u8(0), join(b...))))
	}
	return []serverCase{
		{"full TLS 1.2", join(in(hello12, certificate, done), in(ticket), ccs, sealed), "hello(0303,id=32,ticket) message(11) message(14) ticket(300,3,01080f) change-cipher-spec opaque"},
		{"resumed TLS 1.2", join(in(hello12), ccs, sealed), "hello(0303,id=32,ticket) change-cipher-spec opaque"},
		{"resumed TLS 1.2 with a new ticket", join(in(hello12, ticket), ccs, sealed), "hello(0303,id=32,ticket) ticket(300,3,01080f) change-cipher-spec opaque"},
		{"empty ticket", join(in(hello12, newSessionTicket(0, nil)), ccs), "hello(0303,id=32,ticket) ticket(0,0,) change-cipher-spec opaque"},
		{"TLS 1.0 without extensions", join(in(serverHello(0x0301, random, id), certificate), ccs), "hello(0301,id=32) message(11) change-cipher-spec opaque"},
		{"SSL 3.0", in(serverHello(0x0300, random, nil)), "hello(0300,id=0)"},
		{"extensions without any", greeting(), "hello(0303,id=32)"},
		{"an empty extension block", block(u16(0)), "hello(0303,id=32)"},
		{"pre_shared_key in TLS 1.2", greeting(ext(41, u16(0))), "hello(0303,id=32)"},
		{"TLS 1.3", join(in(hello13), ccs, record(23, fill(40, 1))), "hello(0304,id=32) opaque"},
		{"TLS 1.3 and more in the record", in(hello13, fill(9, 0)), "hello(0304,id=32) opaque"},
		{"TLS 1.3 with PSK", join(in(hello13psk), ccs), "hello(0304,id=32,psk=1) opaque"},
		{"a draft of TLS 1.3", join(greeting(ext(43, u16(0x7f1c))), ccs), "hello(7f1c,id=32) opaque"},
		{"retry", join(in(retry), ccs, in(hello13psk), record(23, fill(40, 1))), "retry hello(0304,id=32,psk=1) opaque"},
		{"retry without change cipher spec", join(in(retry), in(hello13)), "retry hello(0304,id=32) opaque"},
		{"retry only", join(in(retry), ccs, ccs), "retry"},
		{"two retries", join(in(retry), ccs, in(retry)), "retry invalid"},
		{"retry, then TLS 1.2", join(in(retry), in(hello12)), "retry invalid"},
		{"retry of TLS 1.2", in(serverHello(0x0303, []byte(helloRetryRandom), id)), "invalid"},
		{"warning first", join(warning, in(hello12), ccs), "alert(1,112) hello(0303,id=32,ticket) change-cipher-spec opaque"},
		{"warning between records of a hello", join(record(22, hello12[:20]), warning, record(22, hello12[20:])), "alert(1,112) hello(0303,id=32,ticket)"},
		{"two alerts", join(warning, record(21, []byte{2, 40})), "alert(1,112) alert(2,40)"},
		{"fatal alert", record(21, []byte{2, 40}), "alert(2,40)"},
		{"fatal alert after the hello", join(in(hello12), record(21, []byte{2, 80})), "hello(0303,id=32,ticket) alert(2,80)"},
		{"HelloRequests are nothing", in(message(0, nil), hello12, message(0, nil), certificate), "hello(0303,id=32,ticket) message(11)"},
		{"a HelloRequest with a body", in(hello12, message(0, u8(0))), "hello(0303,id=32,ticket) invalid"},
		{"a message of 200 kB", join(cutEach(join(hello12, message(11, make([]byte, 200<<10)), done), 1<<14), ccs), "hello(0303,id=32,ticket) message(11) message(14) change-cipher-spec opaque"},
		{"two tickets", join(in(hello12, ticket, ticket), ccs), "hello(0303,id=32,ticket) ticket(300,3,01080f) excess"},
		{"an empty ticket and one", join(in(hello12, newSessionTicket(0, nil), ticket), ccs), "hello(0303,id=32,ticket) ticket(0,0,) excess"},
		{"empty records", join(bytes.Repeat(record(22, nil), 32), in(hello12), bytes.Repeat(record(22, nil), 32)), "hello(0303,id=32,ticket)"},
		{"too many empty records", bytes.Repeat(record(22, nil), 33), "invalid"},

		{"not TLS", []byte("HTTP/1.1 400 Bad Request"), "opaque"},
		{"another major version", []byte{22, 2, 0}, "opaque"},
		{"application data first", record(23, fill(40, 1)), "opaque"},
		{"change cipher spec first", ccs, "opaque"},
		{"change cipher spec before the hello", join(warning, ccs), "alert(1,112) invalid"},
		{"application data before change cipher spec", join(in(hello12), record(23, fill(40, 1))), "hello(0303,id=32,ticket) invalid"},
		{"change cipher spec inside a message", join(record(22, join(hello12, certificate[:9])), ccs), "hello(0303,id=32,ticket) message(11) invalid"},
		{"change cipher spec inside a header", join(record(22, join(hello12, certificate[:3])), ccs), "hello(0303,id=32,ticket) invalid"},
		{"change cipher spec of two bytes", join(in(hello12), record(20, []byte{1, 1})), "hello(0303,id=32,ticket) invalid"},
		{"change cipher spec of 2", join(in(hello12), record(20, u8(2))), "hello(0303,id=32,ticket) invalid"},
		{"alert of three bytes", join(in(hello12), record(21, fill(3, 1))), "hello(0303,id=32,ticket) invalid"},
		{"alert of no bytes", record(21, nil), "invalid"},
		{"another version later", join(in(hello12), []byte{22, 2}), "hello(0303,id=32,ticket) invalid"},
		{"a record that is too long", join(u8(22), u16(0x0303), u16(1<<14+1)), "invalid"},
		{"a certificate first", in(certificate), "invalid"},
		{"a ticket first", in(ticket), "invalid"},
		{"two hellos", in(hello12, hello12), "hello(0303,id=32,ticket) invalid"},
		{"a hello above 64 KiB", record(22, join(u8(2), u24(maxServerHello+1))), "invalid"},
		{"a hello that is too short", in(message(2, fill(34, 3))), "invalid"},
		{"a hello of major version 2", in(serverHello(0x0203, random, id)), "invalid"},
		{"TLS 1.3 in legacy_version", in(serverHello(0x0304, random, id)), "invalid"},
		{"a session ID of 33 bytes", in(serverHello(0x0303, random, fill(33, 1))), "invalid"},
		{"a session ID longer than the hello", in(message(2, join(u16(0x0303), random, u8(32), fill(34, 1)))), "invalid"},
		{"half a length of extensions", block(u8(0)), "invalid"},
		{"extensions that are too long", block(u16(5), ext(35)), "invalid"},
		{"a byte behind the extensions", block(vec16(ext(35)), u8(0)), "invalid"},
		{"half an extension", block(vec16(ext(35), u16(23))), "invalid"},
		{"an extension behind the extensions", block(vec16(ext(35)), ext(23)), "invalid"},
		{"an extension longer than the block", block(vec16(u16(23), u16(1))), "invalid"},
		{"supported_versions of three bytes", greeting(ext(43, fill(3, 1))), "invalid"},
		{"supported_versions of two, cut", block(vec16(u16(43), u16(2), u8(3))), "invalid"},
		{"TLS 1.2 in supported_versions", greeting(ext(43, u16(0x0303))), "invalid"},
		{"a ticket extension with a body", greeting(ext(35, u8(0))), "invalid"},
		{"an extension twice", greeting(ext(23), ext(23)), "invalid"},
		{"pre_shared_key twice", greeting(ext(43, u16(0x0304)), ext(41, u16(0)), ext(41, u16(1))), "invalid"},
		{"a ticket longer than its message", in(hello12, message(4, join(u32(1), u16(9), fill(3, 1)))), "hello(0303,id=32,ticket) invalid"},
		{"a ticket shorter than its message", in(hello12, message(4, join(u32(1), u16(2), fill(3, 1)))), "hello(0303,id=32,ticket) invalid"},
		{"half a ticket header", in(hello12, message(4, u32(1))), "hello(0303,id=32,ticket) invalid"},
	}
}

type serverCase struct {
	name   string
	stream []byte
	want   string
}

// TestServer gives each answer whole, and in chunks of every size there is below
// its own; long ones in a few.
func TestServer(t *testing.T) {
	for _, tt := range serverCases() {
		t.Run(tt.name, func(t *testing.T) {
			var s Server
			for n := range min(len(tt.stream)+1, 3000) {
				if len(tt.stream) > 3000 && n > 20 {
					n *= 97
				}
				if got := trace(&s, tt.stream, n); got != tt.want {
					t.Fatalf("in chunks of %d:\n got %s\nwant %s", n, got, tt.want)
				}
				if n > len(tt.stream) {
					break
				}
			}
			if got := naiveServer(tt.stream); got != tt.want {
				t.Errorf("naive: %s", got)
			}
		})
	}
}

// TestServerAnswerWithoutEnd: a server may say only so much in clear, however it says it.
func TestServerAnswerWithoutEnd(t *testing.T) {
	hello := serverHello(0x0303, fill(32, 1), nil)
	greeting := "hello(0303,id=0) "
	warning := record(21, []byte{1, 112})
	idle := join(bytes.Repeat(record(22, nil), 32), record(22, message(0, nil)))
	for _, tt := range []struct {
		name   string
		stream []byte
		want   string
	}{
		{"a message of 256 KiB", cutEach(join(hello, message(11, make([]byte, 256<<10)), message(14, nil)), 1<<14), greeting + "message(11) message(14)"},
		{"a message of 16 MiB", cut(join(hello, u8(11), u24(1<<24-1))), greeting + "excess"},
		{"warnings", bytes.Repeat(warning, MaxAnswer/7+1), strings.Repeat("alert(1,112) ", MaxAnswer/7) + "excess"},
		{"empty records between HelloRequests", join(cut(hello), bytes.Repeat(idle, MaxAnswer/169+1)), greeting + "excess"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Server
			for _, n := range []int{0, 5, 1000} {
				if got := trace(&s, tt.stream, n); got != tt.want {
					t.Fatalf("in chunks of %d: %d bytes of trace, want %d", n, len(got), len(tt.want))
				}
			}
			if got := naiveServer(tt.stream); got != tt.want {
				t.Errorf("naive: %d bytes of trace, want %d", len(got), len(tt.want))
			}
		})
	}
}

// TestServerEveryRecordCut cuts the messages of an answer anew over two records
// at every point, and over records of equal size.
func TestServerEveryRecordCut(t *testing.T) {
	hello := serverHello(0x0303, fill(32, 1), fill(32, 4), ext(35), ext(0xff01, u8(0)))
	flight := join(hello, message(11, fill(90, 1)), message(14, nil), newSessionTicket(7200, fill(50, 5)))
	ccs := record(20, u8(1))
	want := fmt.Sprintf("hello(0303,id=32,ticket) message(11) message(14) ticket(7200,50,%x) change-cipher-spec opaque", fill(50, 5))
	streams := [][]byte{cutEach(flight, 1), cutEach(flight, 2), cutEach(flight, 3)}
	for n := 1; n < len(flight); n++ {
		streams = append(streams, cut(flight, n))
	}
	var s Server
	for i, stream := range streams {
		stream = append(stream, ccs...)
		for n := range 12 {
			if got := trace(&s, stream, n); got != want {
				t.Fatalf("cut %d in chunks of %d:\n got %s\nwant %s", i, n, got, want)
			}
		}
	}
}

// TestServerFinal asserts that the final events stay, and take nothing.
func TestServerFinal(t *testing.T) {
	for _, tt := range []struct {
		stream string
		want   Event
	}{{"HTTP", EventOpaque}, {"\x16\x03\x03\x00\x04\x0b\x00\x00\x00", EventInvalid}} {
		var s Server
		s.Reset()
		if _, ev := s.Next([]byte(tt.stream)); ev != tt.want {
			t.Fatalf("%v, want %v", ev, tt.want)
		}
		for range 3 {
			if n, ev := s.Next(cut(serverHello(0x0303, fill(32, 1), nil))); n != 0 || ev != tt.want {
				t.Errorf("then %d bytes, %v", n, ev)
			}
		}
		if s.Reset(); s.final != EventNone {
			t.Error("Reset does not help")
		}
	}
}
