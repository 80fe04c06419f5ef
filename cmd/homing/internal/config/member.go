package config

import (
	"errors"
	"net/netip"

	"homing/cmd/homing/internal/value"
)

// DefaultPool is the name of the pool that flags alone describe, and that agents announce to unless told otherwise.
const DefaultPool = "default"

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
		top("cluster-join", "cluster.join", value.Several[string]{P: &m.Join, Parse: value.ParseHostPort, Kind: "ADDR"},
			"a node that is, or will be, there; repeatable; dialled again forever").fixed().like("192.0.2.2:7946"),
		top("gossip-key-file", "cluster.gossip_key_file", value.Path(&m.GossipKeyFile, "FILE"),
			"keys that nodes and agents share, one per line as homing keygen prints them, the one in use first").
			fixed().like("/etc/homing/gossip.key"),
		top("cluster-advertise", "cluster.advertise", value.AddrPort{P: &m.Advertise},
			"where others reach --cluster-bind, when that is another address").fixed().like("198.51.100.1:7946"),
		top("cluster-label", "cluster.label", value.Text{P: &m.Label, Check: checkLabel, Kind: "WORD"},
			"members with another label are not heard").fixed(),
		top("cluster-insecure", "cluster.insecure", value.Bool{P: &m.Insecure},
			"gossip without a key beyond loopback: whoever reaches the address may join").fixed(),
	}
}

func checkLabel(s string) error {
	if len(s) > 64 {
		return errors.New("longer than 64 bytes")
	}
	return value.CheckPrintable(s)
}
