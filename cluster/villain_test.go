package cluster

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// villain is a web server that was broken into: it has the gossip key, and says what it likes in memberlist's own
// words.
type villain struct {
	key []byte
}

// Memberlist's messages, in its words.
type (
	villainState struct {
		Name        string
		Addr        []byte
		Port        uint16
		Meta        []byte
		Incarnation uint32
		State       int
		Vsn         []uint8
	}
	villainHeader struct {
		Nodes        int
		UserStateLen int
		Join         bool
	}
	villainDead struct {
		Incarnation uint32
		Node        string
		From        string
	}
)

const (
	villainSuspect, villainAlive, villainDeadMsg, villainPushPull, villainUserMsg, villainEncrypt = 3, 4, 5, 6, 8, 10

	stateAlive, stateLeft = 0, 3
)

func pack(t testing.TB, kind byte, parts ...any) []byte {
	t.Helper()
	b := bytes.NewBuffer([]byte{kind})
	enc := codec.NewEncoder(b, &codec.MsgpackHandle{})
	for _, part := range parts {
		if raw, ok := part.([]byte); ok {
			b.Write(raw)
			continue
		}
		if err := enc.Encode(part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func (v *villain) seal(plain, data []byte) []byte {
	block, _ := aes.NewCipher(v.key)
	gcm, _ := cipher.NewGCM(block)
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce) // it never fails
	return gcm.Seal(append([]byte{1}, nonce...), nonce, plain, data)
}

// stream sends a message by TCP, and reads what comes back.
func (v *villain) stream(t testing.TB, to netip.AddrPort, plain []byte) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", to.String(), 5*time.Second)
	if err != nil {
		return // it does not listen to us: so much the better
	}
	defer conn.Close()
	head := binary.BigEndian.AppendUint32([]byte{villainEncrypt}, uint32(1+12+len(plain)+16))
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // what it does not take does no harm
	_, _ = conn.Write(append(head, v.seal(plain, head)...))
	_, _ = io.Copy(io.Discard, conn)
}

// push gives a member a whole state.
func (v *villain) push(t testing.TB, to netip.AddrPort, states ...villainState) {
	t.Helper()
	parts := []any{villainHeader{Nodes: len(states), Join: true}}
	for _, s := range states {
		parts = append(parts, s)
	}
	v.stream(t, to, pack(t, villainPushPull, parts...))
}

// packet sends a message by UDP.
func (v *villain) packet(t testing.TB, to netip.AddrPort, plain []byte) {
	t.Helper()
	conn, err := net.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write(v.seal(plain, nil))
}

// says is the state of a member as the villain has it.
func says(t testing.TB, name string, at netip.AddrPort, meta Meta, incarnation uint32) villainState {
	t.Helper()
	b, err := meta.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return villainState{
		Name: name, Addr: at.Addr().AsSlice(), Port: at.Port(), Meta: b, Incarnation: incarnation,
		State: stateAlive, Vsn: []uint8{1, 5, 2, 0, 0, 0},
	}
}

// fakes is agents that are not there, each at an address of its own.
func fakes(t testing.TB, n int, meta Meta) []villainState {
	t.Helper()
	all := make([]villainState, n)
	for i := range all {
		ip := netip.AddrFrom4([4]byte{127, 66, byte(i >> 8), byte(i)}) // nobody listens there; refused at once
		meta.Announced.Backend = netip.AddrPortFrom(ip, 443)
		all[i] = says(t, fmt.Sprintf("fake-%d", i), netip.AddrPortFrom(ip, 7946), meta, 1)
	}
	return all
}
