package capture_test

import (
	"bytes"
	"strings"
	"testing"

	"homing/cmd/homing/internal/observe/capture"
)

// again reads the same bytes for ever: what it begins with once, what it repeats without end.
type again struct{ begin, repeat, left []byte }

func (a *again) Read(p []byte) (int, error) {
	if len(a.left) == 0 {
		if a.left = a.begin; a.left == nil {
			a.left = a.repeat
		}
		a.begin = nil
	}
	n := copy(p, a.left)
	a.left = a.left[n:]
	return n, nil
}

// BenchmarkNext reads packets of 300 bytes, about the mean of short TLS conns.
func BenchmarkNext(b *testing.B) {
	data := strings.Repeat("p", 300)
	le := little()
	record, block := micro().record(1, 0, data, len(data)), le.packet(0, 1, data, len(data))
	for name, file := range map[string]again{
		"pcap":   {begin: micro().file(), repeat: bytes.Repeat(record, 4000)},
		"pcapng": {begin: join(le.section(), le.device(1, 0)), repeat: bytes.Repeat(block, 4000)},
	} {
		b.Run(name, func(b *testing.B) {
			file := file // each run reads it from its beginning
			s, err := capture.Open(b.Context(), []string{capture.Stdin}, &file)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.SetBytes(int64(len(record)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
