// Package proc runs programs as black boxes and reads what they cost: it starts a program in the foreground, waits until
// it accepts conns, ends it with all its children, and reads CPU time and memory from /proc (Linux, proc(5)).
package proc
