package cluster

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"homing/cluster/bound"
)

// BenchmarkFakes says what 5,000 fakes cost who sends them, and both sides together: the difference is the node's.
func BenchmarkFakes(b *testing.B) {
	v := &villain{key(1)}
	all := fakes(b, 5000, announcing("127.0.0.1:443", 1).Meta)
	parts := []any{villainHeader{Nodes: len(all), Join: true}}
	for _, one := range all {
		parts = append(parts, one)
	}
	message := func() []byte {
		plain := pack(b, villainPushPull, parts...)
		head := binary.BigEndian.AppendUint32([]byte{villainEncrypt}, uint32(1+12+len(plain)+16))
		return append(head, v.seal(plain, head)...)
	}
	b.Run("sender", func(b *testing.B) {
		for b.Loop() {
			message()
		}
	})
	b.Run("both", func(b *testing.B) {
		ring, err := NewKeyring([][]byte{key(1)})
		if err != nil {
			b.Fatal(err)
		}
		m, err := Create(Config{
			ID: "node", Bind: loopback(), Keys: ring,
			Meta: Meta{Role: RoleNode, State: StateServing},
		})
		if err != nil {
			b.Fatal(err)
		}
		m.transport.bytes, m.transport.alien = bound.NewBudget(1e12, 1e12), bound.NewBudget(1e12, 1e12) // as if it were not bounded
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan struct{})
		go func() { m.Run(ctx); close(done) }()
		for b.Loop() {
			conn, err := net.Dial("tcp", m.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			_, _ = conn.Write(message())     // what it does not take does no harm
			_, _ = io.Copy(io.Discard, conn) // until it has taken all in
			conn.Close()
		}
		cancel()
		<-done
		_ = m.Shutdown() // the benchmark is over
	})
}
