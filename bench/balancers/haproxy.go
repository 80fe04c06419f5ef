package balancers

import (
	"fmt"
	"strings"
)

// haproxyConns is how many conns HAProxy has files for: two each, and a pipe of two for every fourth.
func haproxyConns(files int) int { return min(20_000, (files-100)*2/5) }

// haproxyConfig is what all of HAProxy's configurations have in common: TCP, health checks every 2 s, splicing, and
// timeouts beyond any run. With several nodes, what one keeps in a stick table it tells the others.
func haproxyConfig(l *launch, n *node, balance string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global\n\tnbthread %d\n\tmaxconn %d\n", l.threads, haproxyConns(l.files))
	b.WriteString("defaults\n\tmode tcp\n\toption splice-auto\n\toption redispatch\n\ttimeout connect 5s\n\ttimeout client 5m\n\ttimeout server 5m\n")
	if len(l.nodes) > 1 {
		b.WriteString("peers nodes\n")
		for _, peer := range l.nodes {
			fmt.Fprintf(&b, "\tpeer %s %s\n", peer.name, peer.gossip)
		}
	}
	fmt.Fprintf(&b, "listen bench\n\tbind %s backlog 4096\n%s", n.addr, balance)
	for i, addr := range l.backends {
		fmt.Fprintf(&b, "\tserver b%d %s check\n", i+1, addr)
	}
	return b.String()
}

func haproxyRoundRobin(l *launch, n *node) string {
	return haproxyConfig(l, n, "\tbalance roundrobin\n")
}

func haproxySource(l *launch, n *node) string {
	return haproxyConfig(l, n, "\tbalance source\n\thash-type consistent\n")
}

// haproxySessionID is the recipe of HAProxy's manual ("stick store-response", SSL session ID affinity) with one line
// more, the inspect delay of the response: without it a ServerHello that comes late is not learned from, and a quarter
// of the resumptions is lost.
func haproxySessionID(l *launch, n *node) string {
	peers := ""
	if len(l.nodes) > 1 {
		peers = " peers nodes"
	}
	return haproxyConfig(l, n, `	balance roundrobin
	stick-table type binary len 32 size 30k expire 30m`+peers+`
	acl clienthello req_ssl_hello_type 1
	acl serverhello rep_ssl_hello_type 2
	tcp-request inspect-delay 5s
	tcp-request content accept if clienthello
	tcp-response inspect-delay 5s
	tcp-response content accept if serverhello
	stick on payload_lv(43,1) if clienthello
	stick store-response payload_lv(43,1) if serverhello
`)
}
