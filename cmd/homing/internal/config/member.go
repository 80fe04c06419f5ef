package config

import (
	"errors"
	"net/netip"

	"homing/cmd/homing/internal/value"
)

// Member is what a member of a cluster is told, be it a node or an agent. Without Bind there is no cluster.
type Member struct {
	Bind, Advertise netip.AddrPort
	Join            []string
	GossipKeyFile   string
	Label           string
	Insecure        bool
}

// MemberRows is what nodes and agents have in common, bound to m.
func MemberRows(m *Member) []Row {
	return []Row{
		{
			Flag: "cluster-join", Key: "cluster.join", Fixed: true, Value: value.Several[string]{P: &m.Join, Parse: value.ParseHostPort, Print: value.AsIs, Kind: "ADDR"},
			Doc: "a node that is, or will be, there; repeatable; dialled again forever", Example: "192.0.2.2:7946",
		},
		{
			Flag: "gossip-key-file", Key: "cluster.gossip_key_file", Fixed: true, Value: value.Text{P: &m.GossipKeyFile, Check: value.CheckPath, Kind: "FILE"},
			Doc: "keys that nodes and agents share, one per line as homing keygen prints them, the one in use first", Example: "/etc/homing/gossip.key",
		},
		{
			Flag: "cluster-advertise", Key: "cluster.advertise", Fixed: true, Value: value.AddrPort{P: &m.Advertise},
			Doc: "where others reach --cluster-bind, when that is another address", Example: "198.51.100.1:7946",
		},
		{
			Flag: "cluster-label", Key: "cluster.label", Fixed: true, Value: value.Text{P: &m.Label, Check: checkLabel, Kind: "WORD"},
			Doc: "members with another label are not heard",
		},
		{
			Flag: "cluster-insecure", Key: "cluster.insecure", Fixed: true, Value: value.Bool{P: &m.Insecure},
			Doc: "gossip without a key beyond loopback: whoever reaches the address may join",
		},
	}
}

func checkLabel(s string) error {
	if len(s) > 64 {
		return errors.New("longer than 64 bytes")
	}
	return value.CheckPrintable(s)
}
