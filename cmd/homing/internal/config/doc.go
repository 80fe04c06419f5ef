// Package config is the configuration of `homing run`: what it says (Config), how it is written (a table of rows that the
// flags and the file share), and how a file is read, checked and printed.
package config
