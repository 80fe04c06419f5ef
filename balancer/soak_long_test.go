//go:build linux && soak

package balancer

const (
	soakConns = 5000
	soakBig   = 100
)
