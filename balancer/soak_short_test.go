//go:build linux && !soak

package balancer

// soakConns is the number of conns of TestSoak; 5,000 with -tags soak.
const soakConns = 200

// soakBig is the share of conns, in percent, with up to 4 MB a direction.
const soakBig = 4
