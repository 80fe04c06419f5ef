// Package integration holds the tests of homing as a user meets it: the real binary before real nginx, with real clients
// (openssl, curl, crypto/tls); and of observe, whose findings are held against nginx's logs, tshark and what homing then does.
// They run under make integration, and log the figures they measured.
package integration
