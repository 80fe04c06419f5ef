//go:build linux && soak

package balancer

// With -tags soak, for a quiet machine and a minute or two.
const (
	soakConns    = 5000
	soakBig      = 100
	hostileConns = 10000
)
