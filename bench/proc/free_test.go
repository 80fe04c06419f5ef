package proc

import (
	"errors"
	"net"
	"os/exec"
	"path/filepath"
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

func TestFind(t *testing.T) {
	if path, err := Find("sh"); err != nil || !filepath.IsAbs(path) {
		t.Errorf("sh is at %q, %v", path, err)
	}
	if path, err := Find("no such program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("found %q, %v", path, err)
	}
}
