package proc

import (
	"net"
	"testing"
)

func TestFreeAddrsAreFreeAndDifferent(t *testing.T) {
	const n = 40
	addrs, err := FreeAddrs(t.Context(), n)
	if err != nil || len(addrs) != n {
		t.Fatalf("%d addresses: %v", len(addrs), err)
	}
	for _, addr := range addrs { // held open, so an address drawn twice fails
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
	}
}
