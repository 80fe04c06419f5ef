// Package backends starts TLS servers for the load harness to measure balancers with: real nginx, or small ones in Go.
// Each has a session cache and ticket keys of its own, shares nothing with the others, and names itself in every answer
// (header X-Backend), so that the clients see who served them and what became of their sessions.
//
// Any request is answered with status 200 and a line; /data is a file of zeros without end, of which a range can be had.
package backends
