package capture_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"homing/cmd/homing/internal/observe/capture"
)

// classic writes a pcap file by its description (draft-ietf-opsawg-pcap), as no library here writes both byte orders.
type classic struct {
	binary.AppendByteOrder
	magic, link uint32
}

func (c classic) file(records ...[]byte) []byte {
	b := c.AppendUint32(nil, c.magic)
	b = c.AppendUint16(c.AppendUint16(b, 2), 4)
	b = c.AppendUint32(c.AppendUint64(b, 0), 1<<16)
	b = c.AppendUint32(b, c.link)
	return append(b, bytes.Join(records, nil)...)
}

func (c classic) record(second, fraction uint32, data string, length int) []byte {
	b := c.AppendUint32(c.AppendUint32(nil, second), fraction)
	return append(c.AppendUint32(c.AppendUint32(b, uint32(len(data))), uint32(length)), data...)
}

func micro() classic { return classic{binary.LittleEndian, 0xa1b2c3d4, 1} }

// onePcap is a capture of the packets, a second between them.
func onePcap(packets ...string) []byte {
	var records [][]byte
	for i, p := range packets {
		records = append(records, micro().record(uint32(i), 0, p, len(p)))
	}
	return micro().file(records...)
}

// blocks writes the blocks of a pcapng file (draft-ietf-opsawg-pcapng).
type blocks struct{ binary.AppendByteOrder }

func (o blocks) block(kind uint32, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	size := uint32(len(body) + 12)
	b := append(o.AppendUint32(o.AppendUint32(nil, kind), size), body...)
	return o.AppendUint32(b, size)
}

func (o blocks) section(options ...[]byte) []byte {
	b := o.AppendUint16(o.AppendUint16(o.AppendUint32(nil, 0x1A2B3C4D), 1), 0)
	return o.block(0x0A0D0D0A, append(o.AppendUint64(b, 1<<64-1), bytes.Join(options, nil)...))
}

func (o blocks) device(link uint16, snap uint32, options ...[]byte) []byte {
	b := o.AppendUint32(o.AppendUint16(o.AppendUint16(nil, link), 0), snap)
	return o.block(1, append(b, bytes.Join(options, nil)...))
}

func (o blocks) option(code uint16, value string) []byte {
	b := append(o.AppendUint16(o.AppendUint16(nil, code), uint16(len(value))), value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (o blocks) packet(device uint32, stamp uint64, data string, length int, options ...[]byte) []byte {
	b := o.AppendUint32(o.AppendUint32(o.AppendUint32(nil, device), uint32(stamp>>32)), uint32(stamp))
	b = append(o.AppendUint32(o.AppendUint32(b, uint32(len(data))), uint32(length)), data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return o.block(6, append(b, bytes.Join(options, nil)...))
}

func (o blocks) simple(data string, length int) []byte {
	return o.block(3, append(o.AppendUint32(nil, uint32(length)), data...))
}

// obsolete is a packet block of the first pcapng files.
func (o blocks) obsolete(device uint16, stamp uint64, data string) []byte {
	b := o.AppendUint16(o.AppendUint16(nil, device), 0)
	b = o.AppendUint32(o.AppendUint32(b, uint32(stamp>>32)), uint32(stamp))
	return o.block(2, append(o.AppendUint32(o.AppendUint32(b, uint32(len(data))), uint32(len(data))), data...))
}

// lost is an interface's statistics block.
func (o blocks) lost(device uint32, drops uint64) []byte {
	b := o.AppendUint64(o.AppendUint32(nil, device), 0)
	return o.block(5, append(b, o.option(5, string(o.AppendUint64(nil, drops)))...))
}

func little() blocks { return blocks{binary.LittleEndian} }

func zipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// read gives what the data, read as a file from stdin, has.
func read(t testing.TB, data []byte) ([]capture.Packet, capture.Stats, error) {
	t.Helper()
	s, err := capture.Open(t.Context(), []string{capture.Stdin}, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return readAll(s)
}

// readAll reads the source to its first error.
func readAll(s capture.Source) (all []capture.Packet, st capture.Stats, err error) {
	for {
		p, err := s.Next()
		if errors.Is(err, io.EOF) {
			return all, s.Stats(), nil
		}
		if err != nil {
			return all, s.Stats(), err
		}
		p.Data = bytes.Clone(p.Data)
		all = append(all, p)
	}
}

// packet is an Ethernet frame as wanted: at nanoseconds since 1970.
func packet(at int64, data string) capture.Packet {
	return capture.Packet{Time: time.Unix(0, at).UTC(), Data: []byte(data), Length: len(data), LinkType: layers.LinkTypeEthernet}
}

func of(link layers.LinkType, p capture.Packet) capture.Packet {
	p.LinkType = link
	return p
}

func cutFrom(length int, p capture.Packet) capture.Packet {
	p.Length = length
	return p
}

const second = int64(time.Second)

// impossible is the format whose times nobody else doubts.
const impossible = "pcapng, times that cannot be"

// formats are files that are whole, and what they have.
func formats() map[string]format {
	le, be := little(), blocks{binary.BigEndian}
	return map[string]format{
		"pcap, microseconds": {
			data: micro().file(micro().record(3, 5, "one", 3), micro().record(4, 0, "two", 1500)),
			want: []capture.Packet{packet(3*second+5000, "one"), cutFrom(1500, packet(4*second, "two"))},
		},
		"pcap, nanoseconds":             {data: nano(binary.LittleEndian).file(nano(binary.LittleEndian).record(3, 5, "one", 3)), want: []capture.Packet{packet(3*second+5, "one")}},
		"pcap, big-endian microseconds": {data: bigMicro().file(bigMicro().record(3, 5, "one", 3)), want: []capture.Packet{packet(3*second+5000, "one")}},
		"pcap, big-endian nanoseconds":  {data: nano(binary.BigEndian).file(nano(binary.BigEndian).record(3, 5, "one", 3)), want: []capture.Packet{packet(3*second+5, "one")}},
		"pcap with the length of the frame check sequence above the link type": {
			data: classic{binary.LittleEndian, 0xa1b2c3d4, 0x24000071}.file(micro().record(1, 0, "cooked", 6)),
			want: []capture.Packet{of(layers.LinkTypeLinuxSLL, packet(second, "cooked"))},
		},
		"pcap without a packet": {data: onePcap()},
		"an empty packet":       {data: onePcap("", "one"), want: []capture.Packet{packet(0, ""), packet(second, "one")}},
		"gzip":                  {data: zipped(onePcap("one")), want: []capture.Packet{packet(0, "one")}},
		"gzip of several members, as a rotating capture appends": {
			data: join(zipped(onePcap("one")), zipped(micro().record(1, 0, "two", 3))),
			want: []capture.Packet{packet(0, "one"), packet(second, "two")},
		},
		"pcapng, two link types, one of 16 bits": {
			data: join(le.section(), le.device(1, 0), le.device(276, 0), le.packet(1, 7, "cooked", 6), le.packet(0, 8, "ether", 5)),
			want: []capture.Packet{of(layers.LinkType(276), packet(7000, "cooked")), packet(8000, "ether")},
		},
		"pcapng, as etl2pcapng writes it: interfaces as they come, directions and processes of packets": {
			data: join(le.section(), le.device(1, 0), le.packet(0, 1, "one", 3, le.option(2, "\x01\x00\x00\x00"), le.option(1, "PID=4\x00\x00\x00"), le.option(0, "")),
				le.device(101, 0), le.packet(1, 2, "raw", 3, le.option(2, "\x02\x00\x00\x00"), le.option(1, "PID=4711"), le.option(0, ""))),
			want: []capture.Packet{packet(1000, "one"), of(layers.LinkTypeRaw, packet(2000, "raw"))},
		},
		"pcapng, resolutions of 100 ns and of 2^-9 s, and an offset": {
			data: join(le.section(), le.device(1, 0, le.option(9, "\x07")), le.device(1, 0, le.option(9, "\x89")),
				le.device(1, 0, le.option(14, string(binary.LittleEndian.AppendUint64(nil, 100)))),
				le.packet(0, 15, "one", 3), le.packet(1, 512+256, "two", 3), le.packet(2, 1, "three", 5)),
			want: []capture.Packet{packet(1500, "one"), packet(second+second/2, "two"), packet(100*second+1000, "three")},
		},
		"pcapng, binary resolutions, to the nanosecond": {
			data: join(le.section(), le.device(1, 0, le.option(2, "x"), le.option(9, "\xa0")),
				le.device(1, 0, le.option(9, "\x94"), le.option(14, string(binary.LittleEndian.AppendUint64(nil, 100)))),
				le.packet(0, 6<<32-1, "one", 3), le.packet(1, 1<<20|1<<19, "two", 3), le.packet(0, 6<<32|1<<31, "three", 5),
				be.section(), be.device(1, 0, be.option(9, "\xa0")), be.packet(0, 7<<32|1<<30, "four", 4), be.obsolete(0, 8<<32|1<<31, "five")),
			want: []capture.Packet{
				packet(6*second-1, "one"), packet(101*second+second/2, "two"), packet(6*second+second/2, "three"),
				packet(7*second+second/4, "four"), packet(8*second+second/2, "five"),
			},
		},
		"pcapng, simple packets have the time of the one before": {
			data: join(le.section(), le.device(1, 4), le.packet(0, 9, "one", 3), le.simple("long", 9), le.simple("two", 3)),
			want: []capture.Packet{packet(9000, "one"), cutFrom(9, packet(9000, "long")), packet(9000, "two")},
		},
		impossible: {
			data: join(le.section(), le.device(1, 0), le.device(1, 0, le.option(9, "\x80")), le.packet(0, 9e6, "one", 3),
				le.packet(1, 1<<63, "two", 3), le.packet(0, 1<<64-1, "three", 5)),
			want: []capture.Packet{packet(9*second, "one"), packet(9*second, "two"), packet(9*second, "three")},
		},
		"pcapng, an obsolete packet": {
			data: join(le.section(), le.device(1, 0), le.obsolete(0, 3, "old")),
			want: []capture.Packet{packet(3000, "old")},
		},
		"pcapng, sections of both byte orders, each with its interfaces": {
			data: join(le.section(), le.device(1, 0), le.packet(0, 1, "one", 3), be.section(), be.device(101, 0), be.packet(0, 2, "two", 3)),
			want: []capture.Packet{packet(1000, "one"), of(layers.LinkTypeRaw, packet(2000, "two"))},
		},
		"pcapng, blocks of names, of secrets and of others": {
			data: join(le.section(), le.block(4, make([]byte, 4)), le.block(10, []byte("KSLT\x04\x00\x00\x00none")), le.block(0x80000bad, make([]byte, 2<<20)),
				le.device(1, 0), le.block(0xbad, make([]byte, 4)), le.packet(0, 1, "one", 3)),
			want: []capture.Packet{packet(1000, "one")},
		},
		"pcapng, drops are told as sums, by interface and section": {
			data: join(le.section(), le.device(1, 0), le.device(1, 0), le.lost(0, 3), le.lost(1, 10), le.lost(0, 5), le.section(), le.device(1, 0),
				le.lost(0, 100)),
			dropped: 115,
		},
		"pcapng in gzip": {data: zipped(join(le.section(), le.device(1, 0), le.packet(0, 1, "one", 3))), want: []capture.Packet{packet(1000, "one")}},
	}
}

type format struct {
	data    []byte
	want    []capture.Packet
	dropped uint64
}

func TestOpen(t *testing.T) {
	for name, test := range formats() {
		t.Run(name, func(t *testing.T) {
			got, st, err := read(t, test.data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("packets (-want +got):\n%s", diff)
			}
			size := uint64(0)
			for _, p := range got {
				size += uint64(len(p.Data))
			}
			want := capture.Stats{Packets: uint64(len(test.want)), Bytes: size, Dropped: test.dropped, Read: int64(len(test.data)), Source: "stdin"}
			if diff := cmp.Diff(want, st); diff != "" {
				t.Errorf("stats (-want +got):\n%s", diff)
			}
		})
	}
}

func nano(o binary.AppendByteOrder) classic { return classic{o, 0xa1b23c4d, 1} }

func bigMicro() classic { return classic{binary.BigEndian, 0xa1b2c3d4, 1} }

func onDisk(t testing.TB, name string, data []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Files come in the order given, whatever their kinds are. One that is damaged does not keep the next from being read.
func TestOpenInOrder(t *testing.T) {
	one, damaged := onePcap("one"), onePcap("two", "three")
	damaged = damaged[:len(damaged)-1]
	last := join(little().section(), little().device(1, 0), little().packet(0, 4e6, "four", 4))
	names := []string{onDisk(t, "one.pcap", one), onDisk(t, "damaged", damaged), onDisk(t, "last.pcapng.gz", zipped(last))}
	s, err := capture.Open(t.Context(), names, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	size := int64(len(one) + len(damaged) + len(zipped(last)))
	if st := s.Stats(); st.Size != size || st.Read != 0 {
		t.Errorf("%d of %d bytes at the start, want 0 of %d", st.Read, st.Size, size)
	}
	got, _, err := readAll(s)
	var fault *capture.FileError
	if !errors.As(err, &fault) || fault.File != names[1] || fault.Packets != 1 {
		t.Errorf("error %v, want one of %s behind its first packet", err, names[1])
	}
	rest, st, err := readAll(s)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]capture.Packet{packet(0, "one"), packet(0, "two"), packet(4*second, "four")}, slices.Concat(got, rest)); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
	if st.Read != size || st.Source != names[2] {
		t.Errorf("%d bytes read at the end, of %s last; want %d, of %s", st.Read, st.Source, size, names[2])
	}
}

// Files of recorders that ran side by side are merged by time, whatever the order of the names; of one that ends or is damaged the
// others are read on. Packets of the same time come in the order of the names.
func TestOpenMerges(t *testing.T) {
	timed := func(packets map[uint64]string) []byte {
		b := join(little().section(), little().device(1, 0))
		for _, at := range slices.Sorted(maps.Keys(packets)) {
			b = join(b, little().packet(0, at*1e6, packets[at], len(packets[at])))
		}
		return b
	}
	a, b := timed(map[uint64]string{1: "a1", 4: "a4", 5: "a5"}), timed(map[uint64]string{2: "b2", 4: "b4", 9: "b9"})
	c, d := timed(map[uint64]string{3: "c3", 6: "c6"}), timed(map[uint64]string{7: "d7"})
	c = c[:len(c)-3]
	names := []string{onDisk(t, "d", d), onDisk(t, "b", zipped(b)), onDisk(t, "a", a), onDisk(t, "c", c)}
	s, err := capture.Open(t.Context(), names, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first, _, err := readAll(s)
	var fault *capture.FileError
	if !errors.As(err, &fault) || fault.File != names[3] || fault.Packets != 1 {
		t.Errorf("error %v, want one of %s behind its first packet", err, names[3])
	}
	rest, st, err := readAll(s)
	if err != nil {
		t.Error(err)
	}
	var got []string
	for _, p := range slices.Concat(first, rest) {
		got = append(got, string(p.Data))
	}
	if diff := cmp.Diff([]string{"a1", "b2", "c3", "b4", "a4", "a5", "d7", "b9"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := int64(len(a) + len(zipped(b)) + len(c) + len(d)); st.Read != want || st.Size != want {
		t.Errorf("%d of %d bytes are read, want %d", st.Read, st.Size, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Join(dir, "missing")} {
		if _, err := capture.Open(t.Context(), []string{name}, nil); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Log(err)
		}
	}
}

// Windows' own traces are met often, and there is a way to read them.
func TestOpenNamesEventTraces(t *testing.T) {
	name := onDisk(t, "PktMon.ETL", []byte("\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00"))
	s, err := capture.Open(t.Context(), []string{name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Next()
	want := name + ": this is a Windows event trace; convert it: pktmon etl2pcap FILE (traces of netsh: etl2pcapng FILE NEW)"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := capture.Open(ctx, []string{capture.Stdin}, bytes.NewReader(onePcap("one", "two")))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Next(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("error %v, want EOF", err)
	}
}

// A pipe from which nothing comes does not keep a source from its end.
func TestOpenEndsWhileItWaits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := capture.Open(ctx, []string{capture.Stdin}, r)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := w.Write(onePcap("one")); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Next(); err != nil || string(p.Data) != "one" { // what is there is given at once
		t.Fatalf("%q, %v", p.Data, err)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("error %v, want EOF", err)
	}
}

// What is wrong with a file is told in one line: where, what was read, what helps.
func TestFileErrors(t *testing.T) {
	le := little()
	whole := join(le.section(), le.device(1, 0), le.packet(0, 1, "one", 3))
	huge := func(at int, value uint32) []byte { // the whole file with one word of its last block changed
		b := bytes.Clone(whole)
		binary.LittleEndian.PutUint32(b[len(b)-36+at:], value)
		return b
	}
	header := micro().record(9, 9, "", 0)
	binary.LittleEndian.PutUint32(header[8:], 1<<31)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":   {nil, "the file is empty; it takes pcap and pcapng, as tcpdump, Wireshark and pktmon write them"},
		"garbage": {[]byte("GET / HTTP/1.1\r\n\r\n"), "this is no capture file; it takes pcap and pcapng, as tcpdump, Wireshark and pktmon write them"},
		"short":   {[]byte{0xd4, 0xc3}, "this is no capture file; it takes pcap and pcapng, as tcpdump, Wireshark and pktmon write them"},
		"modified": {
			[]byte("\x34\xcd\xb2\xa1\x00\x00\x00\x00"),
			"this is the modified pcap of a patched libpcap; convert it: editcap -F pcap OLD NEW (editcap comes with Wireshark)",
		},
		"zstd":          {[]byte("\x28\xb5\x2f\xfd\x00\x00\x00\x00"), "the file is compressed, and not by gzip; unpack it first"},
		"header cut":    {onePcap()[:20], "the file is cut off; copy it again when its capture has ended"},
		"record cut":    {onePcap("one", "two")[:24+19+5], "the file is cut off, at byte 43 behind 1 packet that is good; copy it again when its capture has ended"},
		"data cut":      {onePcap("one", "two")[:24+19+17], "the file is cut off, at byte 43 behind 1 packet that is good; copy it again when its capture has ended"},
		"no data":       {onePcap("one", "two")[:24+19+16], "the file is cut off, at byte 43 behind 1 packet that is good; copy it again when its capture has ended"},
		"record of 2GB": {join(onePcap("one"), header), "the file is damaged: capture length exceeds snap length: 2147483648 > 65536, at byte 43 behind 1 packet that is good; copy or capture it again"},
		"gzip cut":      {zipped(onePcap("one", "two"))[:20], "the file is cut off; copy it again when its capture has ended"},
		"gzip damaged":  {join(zipped(onePcap("one")), []byte("more than a header")), "what gzip packed is damaged, at byte 43 behind 1 packet that is good; pack or copy it again"},
		"block cut":     {whole[:len(whole)-5], "the file is cut off; copy it again when its capture has ended"},
		"block of 4GB":  {huge(4, 1<<32-4), "the file is damaged: a block claims to have 4294967292 bytes; copy or capture it again"},
		"block of 0":    {huge(4, 0), "the file is damaged: a block claims to have 0 bytes; copy or capture it again"},
		"packet of 4GB": {huge(20, 1<<32-1), "the file is damaged: a packet claims to have 4294967295 bytes in a block of 36; copy or capture it again"},
		"no interface":  {huge(8, 7), "the file is damaged: Interface id 7 not present in section (have only 1 interfaces); copy or capture it again"},
		"simple packet longer than its block": {
			join(whole, le.simple("two", 4000)),
			"the file is damaged: a packet claims to have 4000 bytes in a block of 20, at byte 84 behind 1 packet that is good; copy or capture it again",
		},
		"version": {
			le.block(0x0A0D0D0A, []byte("\x4d\x3c\x2b\x1a\x09\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff")),
			"a section is of a pcapng version that is not known; convert it: editcap -F pcapng OLD NEW (editcap comes with Wireshark)",
		},
		"options that go on behind their block": {
			join(whole, le.packet(0, 1, "two", 3, []byte{1, 0, 200, 0}), bytes.Repeat(le.packet(0, 1, "more", 4), 20)),
			"the file is damaged: a packet's options go on behind their block, at byte 84 behind 1 packet that is good; copy or capture it again",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := read(t, test.data)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff("stdin: "+test.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}
