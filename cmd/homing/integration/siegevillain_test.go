package integration

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	wire "encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"golang.org/x/sys/unix"

	"homing/bench/testkit"
	"homing/cluster"
	"homing/cmd/homing/internal/api"
)

// villain is a web server that was broken into: it has the gossip key, and sends what it likes, in memberlist's words, from
// a network namespace.
type villain struct {
	key  []byte
	node string // its gossip address
	work chan func()
}

// memberlist's push/pull and death, in its words.
type (
	gossipHeader struct {
		Nodes        int
		UserStateLen int
		Join         bool
	}
	gossipEntry struct {
		Name        string
		Addr        []byte
		Port        uint16
		Meta        []byte
		Incarnation uint32
		State       int
		Vsn         []uint8
	}
	gossipDeath struct {
		Incarnation uint32
		Node        string
		From        string
	}
)

const (
	gossipDead, gossipPushPull, gossipUser, gossipEncrypted = 5, 6, 8, 10
	gossipLabel                                             = "\xf4\x06homing" // the default one, in clear before each message
)

// newVillain starts a villain, whose sockets are made by a thread that is in the namespace.
func newVillain(t *testing.T, room string, key []byte, node string) *villain {
	t.Helper()
	v := &villain{key: key, node: node, work: make(chan func())}
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		file, err := os.Open("/run/netns/" + room)
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		entered <- err
		if err != nil {
			return
		}
		for f := range v.work {
			f()
		}
	}()
	testkit.Check(t, <-entered)
	t.Cleanup(func() { close(v.work) })
	return v
}

// dial connects from the namespace.
func (v *villain) dial(network, to string) (conn net.Conn, err error) {
	done := make(chan struct{})
	v.work <- func() {
		conn, err = net.DialTimeout(network, to, time.Second)
		close(done)
	}
	<-done
	return conn, err
}

func (v *villain) seal(plain, data []byte) []byte {
	block, _ := aes.NewCipher(v.key)
	gcm, _ := cipher.NewGCM(block)
	nonce := make([]byte, gcm.NonceSize())
	_, _ = rand.Read(nonce) // it never fails
	return gcm.Seal(append([]byte{1}, nonce...), nonce, plain, append(bytes.Clone(data), gossipLabel[2:]...))
}

func pack(kind byte, parts ...any) []byte {
	b := bytes.NewBuffer([]byte{kind})
	enc := codec.NewEncoder(b, &codec.MsgpackHandle{})
	for _, part := range parts {
		_ = enc.Encode(part) // to memory
	}
	return b.Bytes()
}

// push gives the node a whole state; what it makes of that is the test's to see.
func (v *villain) push(entries []gossipEntry) {
	parts := []any{gossipHeader{Nodes: len(entries), Join: true}}
	for _, one := range entries {
		parts = append(parts, one)
	}
	plain := pack(gossipPushPull, parts...)
	conn, err := v.dial("tcp", v.node)
	if err != nil {
		return
	}
	defer conn.Close()
	head := wire.BigEndian.AppendUint32([]byte{gossipEncrypted}, uint32(1+12+len(plain)+16))
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = conn.Write(append(append([]byte(gossipLabel), head...), v.seal(plain, head)...))
	_, _ = io.Copy(io.Discard, conn)
}

// packets sends messages by UDP.
func (v *villain) packets(plain ...[]byte) {
	conn, err := v.dial("udp", v.node)
	if err != nil {
		return
	}
	defer conn.Close()
	for _, one := range plain {
		_, _ = conn.Write(append([]byte(gossipLabel), v.seal(one, nil)...))
	}
}

// entry is a live member as the villain says it is.
func entry(name string, at netip.AddrPort, meta cluster.Meta, incarnation uint32) gossipEntry {
	b, _ := meta.AppendBinary(nil) // valid by construction
	return gossipEntry{Name: name, Addr: at.Addr().AsSlice(), Port: at.Port(), Meta: b, Incarnation: incarnation, Vsn: []uint8{1, 5, 2, 0, 0, 0}}
}

func agentMeta(backend netip.AddrPort) cluster.Meta {
	return cluster.Meta{Role: cluster.RoleAgent, State: cluster.StateServing, Announced: cluster.Announcement{
		Pool: "default", Backend: backend, Weight: 1, Started: time.Now().UnixNano(),
	}}
}

// forged are agents as they never said they are.
func forged(agents []api.Member, incarnation uint32, change func(*cluster.Meta)) (all []gossipEntry) {
	for _, one := range agents {
		meta := agentMeta(netip.MustParseAddrPort(one.Backend))
		change(&meta)
		all = append(all, entry(one.ID, netip.MustParseAddrPort(one.Addr), meta, incarnation))
	}
	return all
}

// goodbyes are agents' own words that they leave.
func goodbyes(agents []api.Member, incarnation uint32) (all [][]byte) {
	for _, one := range agents {
		all = append(all, pack(gossipDead, gossipDeath{incarnation, one.ID, one.ID}))
	}
	return all
}

// speakers are members at the villain's address, and beside the agents, that announce the agents' backends as draining.
func speakers(agents []api.Member, own netip.AddrPort, incarnation uint32) (all []gossipEntry) {
	for _, one := range agents {
		backend := netip.MustParseAddrPort(one.Backend)
		meta := agentMeta(backend)
		meta.State, meta.Announced.Started = cluster.StateDraining, 1<<62
		all = append(all, entry("x"+one.ID, own, meta, incarnation), entry("y"+one.ID, netip.AddrPortFrom(backend.Addr(), 1), meta, incarnation))
	}
	return all
}

// garbage are commands that nobody can read.
func garbage(n int) (all [][]byte) {
	for i := range n {
		all = append(all, append([]byte{gossipUser, 1, 2, byte(i), byte(i >> 8)}, make([]byte, 60)...))
	}
	return all
}

// fakes are agents that there are not, at addresses below the genuine ones'.
func fakes(n int) (all []gossipEntry) {
	for i := range n {
		ip := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		all = append(all, entry(fmt.Sprintf("fake-%d", i), netip.AddrPortFrom(ip, 7946), agentMeta(netip.AddrPortFrom(ip, 443)), 1))
	}
	return all
}
