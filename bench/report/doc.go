// Package report holds what a comparison of balancers has shown and draws it: as a text table, as JSON, and as one HTML
// page with charts that needs nothing beside itself.
//
// A Report has Tests (a scenario with a kind of client), a Test has Arms (one way from clients to backends), an Arm has
// Rounds. Rounds of the arms of a test took turns, so that what slowed the machine for a while slowed all of them; every
// figure is the median of an arm's rounds, every comparison the median of the ratios of rounds of the same number.
package report
