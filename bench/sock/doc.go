// Package sock is what the load harness wants of the kernel: non-blocking TCP conns from source addresses of its
// choice, and one epoll set per loop to wait for them. Linux only.
//
// A descriptor belongs to the loop that opened it. Readiness comes edge by edge: whoever reads or writes goes on until
// Again, or remembers that there is more.
package sock
