//go:build linux && !soak

package balancer

const (
	soakConns    = 200 // of TestSoak
	soakBig      = 4   // percent of its flows that may have 4 MB
	hostileConns = 400 // of TestHostileInput
)
