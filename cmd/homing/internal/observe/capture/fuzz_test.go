package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"homing/cmd/homing/internal/observe/capture"
)

// FuzzOpen: whatever a file is, it is read in bounds and to an end, the same in pieces of any size; what a file that is cut off gives
// is what the whole one begins with.
func FuzzOpen(f *testing.F) {
	le, be := little(), blocks{binary.BigEndian}
	for _, seed := range [][]byte{
		onePcap("one", "two"),
		bigMicro().file(bigMicro().record(3, 5, "one", 3)),
		nano(binary.LittleEndian).file(nano(binary.LittleEndian).record(3, 5, "one", 1500)),
		join(le.section(le.option(4, "pktmon")), le.device(1, 0, le.option(2, "eth0"), le.option(9, "\x07")), le.device(276, 4), le.packet(1, 1, "one", 3, le.option(1, "said"))),
		join(le.section(), le.device(1, 4), le.simple("long", 9), le.obsolete(0, 3, "old"), le.lost(0, 7)),
		join(be.section(), be.device(101, 0), be.packet(0, 2, "two", 3), le.section(), le.device(1, 0), le.block(4, []byte("no names")), le.packet(0, 1, "one", 3)),
		join(le.section(), le.device(1, 0), le.packet(0, 1, "two", 3, []byte{1, 0, 200, 0}), le.packet(0, 1, "one", 3)),
		zipped(onePcap("one", "two")),
		zipped(zipped(onePcap("one"))),
		[]byte("snoop\x00\x00\x00\x00\x00\x00\x02"),
		nil,
	} {
		f.Add(seed, uint(len(seed)/2))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint) {
		whole, st, err := read(t, data)
		if err != nil {
			var fault *capture.FileError
			if !errors.As(err, &fault) || strings.ContainsAny(err.Error(), "\n\r") || fault.Packets != uint64(len(whole)) {
				t.Errorf("error behind %d packets: %q", len(whole), err)
			}
		}
		if st.Packets != uint64(len(whole)) || st.Read > int64(len(data)) {
			t.Errorf("%d packets and %d bytes, said to be %d and %d", len(whole), len(data), st.Packets, st.Read)
		}
		for _, p := range whole {
			if p.Data == nil || len(p.Data) > 1<<20 || p.Time.Year() > 2242 || (p.Time.Year() < 1970 && !p.Time.IsZero()) {
				t.Errorf("a packet of %d bytes, at %v", len(p.Data), p.Time)
			}
		}
		s, e := capture.Open(t.Context(), []string{capture.Stdin}, iotest.HalfReader(bytes.NewReader(data)))
		if e != nil {
			t.Fatal(e)
		}
		defer s.Close()
		pieces, _, e := readAll(s)
		if diff := cmp.Diff(whole, pieces); diff != "" || (err == nil) != (e == nil) {
			t.Errorf("in pieces, with %v and not %v (-whole +pieces):\n%s", e, err, diff)
		}
		begun, _, _ := read(t, data[:min(at, uint(len(data)))])
		if len(begun) > len(whole) {
			t.Fatalf("%d packets of the beginning, %d of the whole", len(begun), len(whole))
		}
		if diff := cmp.Diff(whole[:len(begun)], begun, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the beginning (-whole +beginning):\n%s", diff)
		}
	})
}

// endless is a file without an end: what it begins with, and then zeros.
type endless struct{ head []byte }

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.head)
	e.head = e.head[n:]
	clear(p[n:])
	return len(p), nil
}

// What a file claims is not what is taken: a reader of all that is claimed here would need 4 GB.
func TestOpenTakesNoClaimedMemory(t *testing.T) {
	le := little()
	begin := join(le.section(), le.device(1, 0))
	packet := le.packet(0, 1, "one", 3)
	binary.LittleEndian.PutUint32(packet[20:], 1<<32-1)
	block := le.packet(0, 1, "one", 3)
	binary.LittleEndian.PutUint32(block[4:], 1<<32-4)
	binary.LittleEndian.PutUint32(block[20:], 1<<32-100)
	record := micro().record(0, 0, "", 0)
	binary.LittleEndian.PutUint32(record[8:], 1<<31)
	binary.LittleEndian.PutUint32(record[12:], 1<<31)
	deep := micro().file()
	binary.LittleEndian.PutUint32(deep[16:], 1<<32-1) // the snap length
	for name, data := range map[string][]byte{
		"packet":      join(begin, packet),
		"block":       join(begin, block),
		"record":      join(micro().file(), record),
		"snap length": join(deep, record),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := capture.Open(t.Context(), []string{capture.Stdin}, io.LimitReader(&endless{data}, 1<<32))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, _, err := readAll(s); err == nil {
				t.Error("no error")
			}
			if read := s.Stats().Read; read > 1<<20 {
				t.Errorf("%d bytes were read", read)
			}
		})
	}
}
