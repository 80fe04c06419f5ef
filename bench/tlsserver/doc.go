// Package tlsserver is what a TLS server of crypto/tls lacks to stand in for one on a site: certificates that it signs
// itself, and ticket keys whose tickets bear a name in clear. Servers, demos and tests of this module stand on it; it
// stands on the standard library alone.
package tlsserver
