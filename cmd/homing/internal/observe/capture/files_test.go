package capture_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"homing/cmd/homing/internal/observe/capture"
)

// pcapFile returns a capture of the packets, a second between them.
func pcapFile(t testing.TB, packets ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, p := range packets {
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(int64(i), 7), CaptureLength: len(p), Length: len(p)}
		if err := w.WritePacket(ci, []byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func onDisk(t testing.TB, name string, data []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func readAll(t testing.TB, s capture.Source) ([]capture.Packet, error) {
	t.Helper()
	var all []capture.Packet
	for {
		p, err := s.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		p.Data = bytes.Clone(p.Data)
		all = append(all, p)
	}
}

func TestOpenInOrder(t *testing.T) {
	first, second := onDisk(t, "a.pcap", pcapFile(t, "one", "two")), pcapFile(t, "three")
	s, err := capture.Open(t.Context(), []string{first, capture.Stdin}, bytes.NewReader(second))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := readAll(t, s)
	if err != nil {
		t.Fatal(err)
	}
	packet := func(at int64, data string) capture.Packet {
		return capture.Packet{Time: time.Unix(at, 7).UTC(), Data: []byte(data), Length: len(data), LinkType: layers.LinkTypeEthernet}
	}
	if diff := cmp.Diff([]capture.Packet{packet(0, "one"), packet(1, "two"), packet(0, "three")}, got); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
}
