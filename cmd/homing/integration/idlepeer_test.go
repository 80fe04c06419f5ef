package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
)

// idlePeer is a process with the clients and the backends of one homing, which have descriptors of their own there.
type idlePeer struct {
	in       io.Writer
	out      *bufio.Scanner
	backends []string
}

// idlePeerVar tells a process of this test that it is an idlePeer, and its number.
const idlePeerVar = "HOMING_IDLE_PEER"

func startIdlePeer(t *testing.T, number int) *idlePeer {
	t.Helper()
	p := &idlePeer{}
	p.in, p.out = again(t, fmt.Sprintf("%s=%d", idlePeerVar, number))
	p.backends = strings.Fields(p.heed(t))
	return p
}

// say gives a command, heed reads how it ended.
func (p *idlePeer) say(t *testing.T, command string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		t.Fatal(err)
	}
}

func (p *idlePeer) heed(t *testing.T) string {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("clients and backends have ended: %v", p.out.Err())
	}
	answer, ok := strings.CutPrefix(p.out.Text(), "ok")
	if !ok {
		t.Fatalf("clients and backends: %s", p.out.Text())
	}
	return answer
}

// runIdlePeer is the process.
func runIdlePeer(order string) error {
	number, err := strconv.Atoi(order)
	if err != nil {
		return err
	}
	answer := "ok"
	for range 3 { // each takes 28,000 source ports
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go answerAll(ln)
		answer += " " + ln.Addr().String()
	}
	fmt.Println(answer)
	clients := &idleClients{number: number}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		if err := clients.do(commands.Text()); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("ok")
	}
	return commands.Err()
}

// idleClients are the client's side.
type idleClients struct {
	number int
	conns  []net.Conn
}

// do carries a command out.
func (c *idleClients) do(command string) error {
	var n, seconds int
	var addr string
	if _, err := fmt.Sscanf(command, "hammer %d %d %s", &n, &seconds, &addr); err == nil {
		return c.hammer(n, time.Duration(seconds)*time.Second, addr)
	}
	switch _, err := fmt.Sscanf(command, "grow %d %s", &n, &addr); {
	case err == nil:
		return c.grow(n, addr)
	case command == "ping":
		for i, conn := range c.conns {
			if err := roundTrip(conn, []byte("ping")); err != nil {
				return fmt.Errorf("conn %d of %d: %w", i, len(c.conns), err)
			}
		}
		return nil
	}
	return fmt.Errorf("unknown command %q", command)
}

// grow opens conns until there are n; each has made a round trip.
func (c *idleClients) grow(n int, addr string) error {
	const hands = 8
	var group sync.WaitGroup
	fresh := make([]net.Conn, n-len(c.conns))
	errs := make([]error, hands)
	hello := plainHello()
	for w := range hands {
		group.Go(func() {
			for i := w; i < len(fresh) && errs[w] == nil; i += hands {
				if fresh[i], errs[w] = c.dial(addr, len(c.conns)+i); errs[w] == nil {
					errs[w] = roundTrip(fresh[i], hello)
				}
			}
		})
	}
	group.Wait()
	c.conns = append(c.conns, fresh...)
	return errors.Join(errs...)
}

// hammer makes conns of one round trip, n at a time, one after another.
func (c *idleClients) hammer(n int, lasts time.Duration, addr string) error {
	var group sync.WaitGroup
	errs := make([]error, n)
	hello := plainHello()
	end := time.Now().Add(lasts)
	for w := range n {
		group.Go(func() {
			for i := w; errs[w] == nil && time.Now().Before(end); i += n {
				conn, err := c.dial(addr, i)
				if err == nil {
					err = roundTrip(conn, hello)
					conn.Close()
				}
				errs[w] = err
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// dial connects from one of 200 loopback addresses: one has not ports enough.
func (c *idleClients) dial(addr string, i int) (net.Conn, error) {
	from := netip.AddrFrom4([4]byte{127, 1, byte(c.number), byte(1 + i%200)})
	d := net.Dialer{
		Timeout: idlePatience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
		Control: func(_, _ string, raw syscall.RawConn) (err error) {
			const bindNoPort = 24 // IP_BIND_ADDRESS_NO_PORT: connect finds a port, for it knows the destination
			ctlErr := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_IP, bindNoPort, 1) })
			return errors.Join(ctlErr, err)
		},
	}
	return d.Dial("tcp", addr)
}

// idlePatience bounds a wait for what must come.
const idlePatience = 20 * time.Second

// answerRecord is a TLS record of application data: an observer sees that there is nothing more to be read.
const answerRecord = "\x17\x03\x03\x00\x04idle"

// roundTrip sends b and reads the answer of answerAll.
func roundTrip(c net.Conn, b []byte) error {
	if err := c.SetDeadline(time.Now().Add(idlePatience)); err != nil {
		return err
	}
	if _, err := c.Write(b); err != nil {
		return err
	}
	got := make([]byte, len(answerRecord))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != answerRecord {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

// answerAll answers everything that its conns say with answerRecord.
func answerAll(ln net.Listener) {
	testkit.Accept(ln, func(c net.Conn) {
		buf := make([]byte, 1024)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write([]byte(answerRecord)); err != nil {
				return
			}
		}
	})
}

// plainHello is the least that is a ClientHello of TLS 1.3.
func plainHello() []byte {
	extensions := []byte{0, 0x2b, 0, 3, 2, 3, 4} // supported_versions: TLS 1.3
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0, 0, byte(len(extensions))) // no session ID, one cipher suite, no compression
	body = append(body, extensions...)
	message := append([]byte{1, 0, 0, byte(len(body))}, body...)
	return append([]byte{22, 3, 1, 0, byte(len(message))}, message...)
}
