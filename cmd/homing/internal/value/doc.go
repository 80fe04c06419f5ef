// Package value is the kinds of values that flags and keys of the configuration file have. Each knows its bounds and its
// words, so that a wrong one is refused by the parser with one message, the same on the command line and in a file.
package value
