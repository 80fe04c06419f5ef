package farm_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// alternate starts a TCP balancer that takes the targets in turn, and returns its address.
func alternate(t *testing.T, targets []string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	go func() {
		for i := 0; ; i++ {
			client, err := l.Accept()
			if err != nil {
				return
			}
			target := targets[i%len(targets)]
			conns.Go(func() { forward(client, target) })
		}
	}()
	return l.Addr().String()
}

func forward(client net.Conn, target string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	deadline := time.Now().Add(10 * time.Second)
	_, _ = client.SetDeadline(deadline), server.SetDeadline(deadline)
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(client, server)
	_ = client.(*net.TCPConn).CloseWrite()
	up.Wait()
}
