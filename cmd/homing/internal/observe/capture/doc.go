// Package capture is where observed packets come from: capture files, in the order given, or an interface of this machine.
//
//	pcap, pcapng, gzip, stdin ──Open──►┐
//	                                   Source.Next ──► Packet
//	AF_PACKET (Linux) ────────Listen──►┘
//
// Nothing here understands a packet beyond what a kernel filter must. Nothing is ever sent. Memory is bounded whatever the input is:
// a file's reader holds one packet and one block, an interface has a ring of a fixed size.
package capture
