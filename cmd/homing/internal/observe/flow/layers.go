package flow

import (
	"encoding/binary"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"homing/cmd/homing/internal/observe/capture"
)

// maxLayers bounds the headers of one packet: a mirror's tunnel in a tunnel with tags in both has some 15.
const maxLayers = 32

// Link types that the library has no name for: raw IP, as OpenBSD and the other BSDs number it in files.
const (
	linkTypeRawBSD     layers.LinkType = 12
	linkTypeRawOpenBSD layers.LinkType = 14
)

// Reads says whether frames of a link type are read.
func Reads(t layers.LinkType) bool {
	_, _, ok := begin(t)
	return ok
}

// begin is what frames of a link type begin with: a layer, or so many bytes and then IP of either version (LayerTypeZero).
func begin(t layers.LinkType) (layer gopacket.LayerType, skip int, ok bool) {
	switch t { //nolint:exhaustive // those that are not named are not read
	case layers.LinkTypeEthernet:
		return layers.LayerTypeEthernet, 0, true
	case layers.LinkTypeLinuxSLL:
		return layers.LayerTypeLinuxSLL, 0, true
	case layers.LinkTypeLinuxSLL2:
		return layers.LayerTypeLinuxSLL2, 0, true
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		// An address family, whose numbers are those of the system that captured: each has its own for IPv6.
		return gopacket.LayerTypeZero, 4, true
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6, linkTypeRawBSD, linkTypeRawOpenBSD:
		return gopacket.LayerTypeZero, 0, true
	}
	return gopacket.LayerTypeZero, 0, false
}

// decoder finds the TCP segment in a frame. The layers are the library's; the way from one to the next is walked here, as
// its DecodingLayerParser ends at a fragment and does not go on with what fragments make.
type decoder struct {
	by     gopacket.DecodingLayerSparse
	ip4    layers.IPv4
	ip6    layers.IPv6
	piece6 layers.IPv6Fragment
	gre    layers.GRE
	tcp    layers.TCP

	net  gopacket.Flow // of the innermost IP header: addresses of 4 or 16 bytes
	cut  bool          // the packet goes on behind what was captured
	open bool          // an IP header leaves its length open, as the kernel's does of what the card is to cut up

	pieces pieces
}

func newDecoder(maxPieces int) *decoder {
	d := &decoder{pieces: pieces{limit: maxPieces}}
	d.pieces.forget()
	var by gopacket.DecodingLayerContainer = gopacket.DecodingLayerSparse(nil)
	for _, l := range []gopacket.DecodingLayer{
		&layers.Ethernet{}, &layers.Dot1Q{}, &layers.LinuxSLL{}, &layers.LinuxSLL2{},
		&layers.IPv6ExtensionSkipper{}, // the fragment header is one of them: what follows it is put over it
		&d.ip4, &d.ip6, &d.piece6, &d.gre, &layers.UDP{}, &layers.VXLAN{}, &layers.Geneve{}, &layers.ERSPANII{}, &d.tcp,
	} {
		by = by.Put(l)
	}
	d.by = by.(gopacket.DecodingLayerSparse)
	return d
}

// SetTruncated is the layers' word for a packet that goes on behind what was captured.
func (d *decoder) SetTruncated() { d.cut = true }

// outcome says what a frame is.
type outcome uint8

const (
	notTCP  outcome = iota // or not to be decoded
	notLink                // of a link type that is not read
	isPiece                // a fragment, of a packet that is not whole yet
	isTCP                  // d.tcp, d.net
)

// decode finds the segment in p. Its data aliases p's, or that of a packet that was in fragments.
func (d *decoder) decode(p *capture.Packet) outcome {
	d.cut, d.open = false, false
	typ, skip, ok := begin(p.LinkType)
	switch {
	case !ok:
		return notLink
	case skip > len(p.Data):
		return notTCP
	}
	data := p.Data[skip:]
	if typ == gopacket.LayerTypeZero {
		typ = ipVersion(data)
	}
	found := d.walk(typ, data, p.Time)
	if found == isTCP && p.Length > len(p.Data) && d.open {
		d.cut = true
	}
	return found
}

// ipVersion is the layer that raw IP begins with.
func ipVersion(b []byte) gopacket.LayerType {
	if len(b) == 0 {
		return gopacket.LayerTypeZero
	}
	switch b[0] >> 4 {
	case 4:
		return layers.LayerTypeIPv4
	case 6:
		return layers.LayerTypeIPv6
	}
	return gopacket.LayerTypeZero
}

// walk goes from layer to layer until it is at TCP.
func (d *decoder) walk(typ gopacket.LayerType, data []byte, now time.Time) (found outcome) {
	defer func() {
		if recover() != nil { // as in the library's DecodingLayerParser: whoever sends packets must not stop the reading
			found = notTCP
		}
	}()
	for range maxLayers {
		l, ok := d.by.Decoder(typ)
		if !ok {
			return notTCP
		}
		err := l.DecodeFromBytes(data, d)
		if typ == layers.LayerTypeIPv6 && d.ip6.Length == 0 && d.ip6.NextHeader == layers.IPProtocolTCP && len(data) > 40 {
			d.open, err = true, nil // to the library it is an error without a jumbogram option
		}
		if err != nil {
			return notTCP
		}
		if data = l.LayerPayload(); typ == layers.LayerTypeTCP {
			return isTCP
		}
		switch typ {
		case layers.LayerTypeIPv4:
			d.net = d.ip4.NetworkFlow()
			d.open = d.open || binary.BigEndian.Uint16(d.ip4.Contents[2:]) == 0
		case layers.LayerTypeIPv6:
			d.net = d.ip6.NetworkFlow()
		}
		next := l.NextLayerType()
		switch {
		case next == gopacket.LayerTypeFragment:
			if next, data = d.pieces.join(d, typ, now); next == gopacket.LayerTypeZero {
				return isPiece
			}
		case typ == layers.LayerTypeGRE && d.gre.Protocol == protocolERSPAN3:
			next, data = erspan3(data)
		}
		typ = next
	}
	return notTCP
}

// protocolERSPAN3 is GRE's for ERSPAN type III, which the library does not read (draft-foschiano-erspan-03, 4.3).
const protocolERSPAN3 layers.EthernetType = 0x22eb

// erspan3 takes the header of ERSPAN type III off: 12 bytes, and 8 more if the lowest bit says so. Five bits of it say what
// was mirrored.
func erspan3(b []byte) (gopacket.LayerType, []byte) {
	const (
		version    = 2
		size       = 12
		extra      = 8
		ethernet   = 0
		ip         = 2
		hasExtra   = 0x01
		frameShift = 2
		frameMask  = 0x1f
	)
	if len(b) < size || b[0]>>4 != version {
		return gopacket.LayerTypeZero, nil
	}
	frame, n := b[10]>>frameShift&frameMask, size
	if b[11]&hasExtra != 0 {
		n += extra
	}
	if len(b) < n {
		return gopacket.LayerTypeZero, nil
	}
	switch b = b[n:]; frame {
	case ethernet:
		return layers.LayerTypeEthernet, b
	case ip:
		return ipVersion(b), b
	}
	return gopacket.LayerTypeZero, nil
}
