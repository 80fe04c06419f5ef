package tlsparse

import (
	"fmt"
	"testing"
)

// BenchmarkParseHello finds and parses hellos as they come: in one segment, in
// two of which the first has 1,448 bytes, and over records of 500 bytes.
func BenchmarkParseHello(b *testing.B) {
	for _, name := range []string{"openssl-tls12-ticket", "openssl-tls13-psk", "chrome-115-pq-psk"} {
		g := loadGolden(b, name)
		msg := naiveFrame(g.stream, DefaultHelloLimit, false).message
		for _, form := range []struct {
			name   string
			stream []byte
			first  int
		}{
			{"whole", g.stream, len(g.stream)},
			{"segments=2", g.stream, min(1448, len(g.stream)/2)},
			{"records=500B", cutEach(msg, 500), len(g.stream)},
		} {
			b.Run(fmt.Sprintf("%s/%dB/%s", name, len(g.stream), form.name), func(b *testing.B) {
				scratch := make([]byte, DefaultHelloLimit)
				var h Hello
				b.SetBytes(int64(len(form.stream)))
				b.ReportAllocs()
				for b.Loop() {
					var c Client
					c.Reset(0)
					c.Next(form.stream[:form.first])
					if c.Next(form.stream) != Got || c.Parse(form.stream, scratch, &h) != Got {
						b.Fatal("no hello")
					}
				}
			})
		}
	}
}

// BenchmarkReadAnswer reads a server's answer up to where it goes opaque.
func BenchmarkReadAnswer(b *testing.B) {
	all := loadTranscripts(b)
	for _, name := range []string{"Server-TLSv12-IssueTicket", "Server-TLSv12-Resume", "Server-TLSv13-Resume"} {
		stream := all[name].server
		b.Run(fmt.Sprintf("%s/%dB", name, len(stream)), func(b *testing.B) {
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			var s Server
			for b.Loop() {
				s.Reset()
				for rest := stream; ; {
					n, ev := s.Next(rest)
					rest = rest[n:]
					if ev == EventOpaque {
						break
					}
					if ev == EventNone || ev == EventInvalid || ev == EventExcess {
						b.Fatal(ev)
					}
				}
			}
		})
	}
}
