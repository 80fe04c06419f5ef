package capture

import (
	"encoding/hex"
	"strings"
	"testing"
)

// What the kernel says of a packet with tags depends on its version, on the device, and on whether it comes or goes.
func TestUntag(t *testing.T) {
	const (
		v4   = "4500003c 00000000 40060000 c0000201 c0000202 040001bb" // the IP header and ports
		v6   = "60000000 00140640 20010db8000000000000000000000001 20010db8000000000000000000000002 040001bb"
		odd  = "45000800 00000000 40060000 c0000201 c0000202 040001bb" // whose length is IPv4's EtherType
		tag4 = "0014 0800"
		tag6 = "0014 86dd"
		tagQ = "000a 8100"
	)
	for name, test := range map[string]struct {
		named    uint16
		data     string
		protocol uint16
		tags     int
	}{
		"IPv4":                              {etherIPv4, v4, etherIPv4, 0},
		"IPv6":                              {etherIPv6, v6, etherIPv6, 0},
		"IPv4 of 2048 bytes":                {etherIPv4, odd, etherIPv4, 0},
		"a second tag, named":               {etherVLAN, tag4 + v4, etherIPv4, 4},
		"a second tag, what it has named":   {etherIPv4, tag4 + v4, etherIPv4, 4},
		"IPv6 behind it, named":             {etherIPv6, tag6 + v6, etherIPv6, 4},
		"three tags":                        {etherQinQ, tagQ + tag6 + v6, etherIPv6, 8},
		"three tags, what they have named":  {etherIPv6, tagQ + tag6 + v6, etherIPv6, 8},
		"a tag of priority 2, like IPv4":    {etherVLAN, "4514 0800" + v4, etherIPv4, 4},
		"a tag is named, and is not here":   {etherVLAN, v4, etherIPv4, 0},
		"and IPv6 is":                       {etherVLAN, v6, etherIPv6, 0},
		"ARP":                               {0x0806, "0001 0800 0604 0001 020000000001", 0x0806, 0},
		"a tag before ARP":                  {etherVLAN, "0014 0806 0001 0800 0604 0001 020000000001", etherVLAN, 0},
		"MPLS behind a tag":                 {etherVLAN, "0014 8847 00001140" + v4, etherMPLS, 4},
		"cut":                               {etherVLAN, "0014 0800 4500", etherVLAN, 0},
		"nothing":                           {etherIPv4, "", etherIPv4, 0},
		"as many tags as one likes to send": {etherVLAN, strings.Repeat(tagQ, 9), etherVLAN, 8},
	} {
		data, err := hex.DecodeString(strings.ReplaceAll(test.data, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if protocol, tags := untag(test.named, data); protocol != test.protocol || tags != test.tags {
			t.Errorf("%s: protocol %04x behind %d bytes, want %04x behind %d", name, protocol, tags, test.protocol, test.tags)
		}
	}
}

// FuzzUntag: whatever comes, the tags are some of its bytes, and what stands behind them is taken for none.
func FuzzUntag(f *testing.F) {
	for _, seed := range []string{"0014080045000800000000004006", "4514080045000800", "000a810000148100000a8100000a8100", ""} {
		data, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(etherVLAN), data)
		f.Add(uint16(etherIPv4), data)
	}
	f.Fuzz(func(t *testing.T, named uint16, data []byte) {
		protocol, tags := untag(named, data)
		if tags > 4*maxTags || tags%4 != 0 || tags > len(data) {
			t.Fatalf("%d bytes of tags in %d", tags, len(data))
		}
		if tags == 0 && protocol != named && (!isTag(named) || !begins(protocol, data)) {
			t.Errorf("protocol %04x became %04x", named, protocol)
		}
		if tags > 0 && !begins(protocol, data[tags:]) {
			t.Errorf("protocol %04x does not begin behind %d bytes", protocol, tags)
		}
	})
}
