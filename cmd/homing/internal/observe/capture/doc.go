// Package capture is where observed packets come from: capture files, merged by time, or an interface of this machine.
//
//	pcap, pcapng, gzip, stdin ──Open──►┐
//	                                   Source.Next ──► Packet
//	AF_PACKET (Linux) ────────Listen──►┘
//
// A filter in libpcap's words is not here: of the compilers in pure Go none is well kept. tcpdump has them, and gives its packets:
//
//	tcpdump -i eth0 -w - 'net 10.0.0.0/8 and tcp port 443' | homing observe --pcap -
//	tcpdump -r trace.pcap -w - 'host 192.0.2.1' | homing observe --pcap -
//
// Nothing here understands a packet beyond what a kernel filter must. Nothing is ever sent. Memory is bounded whatever the input is:
// a file's reader holds one packet and one block, an interface has a ring of a fixed size.
package capture
