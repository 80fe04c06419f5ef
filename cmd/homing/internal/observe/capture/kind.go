package capture

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// kind is what the first bytes of a file say it is. The kinds that cannot be read are the error that says so.
type kind int

const (
	kindUnknown kind = iota
	kindEmpty
	kindGzip
	kindPcap
	kindPcapng
	kindModified
	kindSnoop
	kindNetmon
	kindETL // by its name: its first bytes are sizes
	kindZstd
	kindXz
	kindBzip2
	kindLz4
	kindZip
)

// sniffed is as many bytes as the longest of the marks.
const sniffed = 8

// sniff tells the kind of what r has next, and takes nothing of it.
func sniff(r *bufio.Reader) (kind, error) {
	head, err := r.Peek(sniffed)
	if len(head) == 0 && errors.Is(err, io.EOF) {
		return kindEmpty, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return kindUnknown, err
	}
	marks := []struct {
		begin string
		kind  kind
	}{
		{"\x1f\x8b", kindGzip},
		{"\xd4\xc3\xb2\xa1", kindPcap},
		{"\xa1\xb2\xc3\xd4", kindPcap}, // microseconds
		{"\x4d\x3c\xb2\xa1", kindPcap},
		{"\xa1\xb2\x3c\x4d", kindPcap}, // nanoseconds
		{"\x34\xcd\xb2\xa1", kindModified},
		{"\xa1\xb2\xcd\x34", kindModified}, // longer record headers
		{"\x0a\x0d\x0d\x0a", kindPcapng},
		{"snoop\x00\x00\x00", kindSnoop},
		{"GMBU", kindNetmon},
		{"RTSS", kindNetmon},
		{"\x28\xb5\x2f\xfd", kindZstd},
		{"\xfd7zXZ\x00", kindXz},
		{"BZh", kindBzip2},
		{"\x04\x22\x4d\x18", kindLz4},
		{"PK\x03\x04", kindZip},
	}
	for _, m := range marks {
		if bytes.HasPrefix(head, []byte(m.begin)) {
			return m.kind, nil
		}
	}
	return kindUnknown, nil
}

func (k kind) Error() string {
	switch k {
	case kindEmpty:
		return "the file is empty"
	case kindModified:
		return "this is the modified pcap of a patched libpcap"
	case kindSnoop:
		return "this is a snoop capture"
	case kindNetmon:
		return "this is a capture of Microsoft Network Monitor"
	case kindETL:
		return "this is a Windows event trace"
	case kindZstd, kindXz, kindBzip2, kindLz4, kindZip:
		return "the file is compressed, and not by gzip"
	case kindUnknown, kindGzip, kindPcap, kindPcapng:
	}
	return "this is no capture file"
}

func (k kind) remedy() string {
	switch k {
	case kindModified, kindSnoop, kindNetmon:
		return "convert it: editcap -F pcap OLD NEW (editcap comes with Wireshark)"
	case kindETL:
		return "convert it: pktmon etl2pcap FILE (traces of netsh: etl2pcapng FILE NEW)"
	case kindZstd, kindXz, kindBzip2, kindLz4, kindZip:
		return "unpack it first"
	case kindUnknown, kindEmpty, kindGzip, kindPcap, kindPcapng:
	}
	return "it takes pcap and pcapng, as tcpdump, Wireshark and pktmon write them"
}
