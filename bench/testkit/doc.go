// Package testkit is what tests of several packages share: waiting for a condition, servers on loopback that end with the
// test, programs, and network namespaces. Only tests import it, which the layering test holds.
package testkit
