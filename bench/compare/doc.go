// Package compare asks the same questions of several balancers: it starts them before the same backends, lets the same
// clients through each of them by turns, and puts together what came of it.
//
// A run has tests (a scenario with a kind of client), a test has arms (a balancer before backends), and the arms of a test
// take turns, in another order in each round, so that what slows the machine for a while slows all of them.
package compare
