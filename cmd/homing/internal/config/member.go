package config

import "net/netip"

// Member is what a member of a cluster is told, be it a node or an agent. Without Bind there is no cluster.
type Member struct {
	Bind, Advertise netip.AddrPort
	Join            []string
	GossipKeyFile   string
	Label           string
	Insecure        bool
}
