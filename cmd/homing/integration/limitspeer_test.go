package integration

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"homing/bench/testkit"
)

// limitsPeerVar tells a process of this test that it has the slow clients and the backends of one homing.
const limitsPeerVar = "HOMING_LIMITS_PEER"

const (
	slowHelloSize  = 7000      // of which slowHelloSent are sent: it takes a buffer of 8 KiB
	slowHelloSent  = 6000      // bytes
	slowAnswer     = 256 << 10 // bytes that each slow reader is sent
	slowReadBuffer = 4 << 10   // its receive buffer, in bytes
)

// runLimitsPeer is the process. Its commands: "hellos N ADDR" opens conns that send a part of a hello; "readers N ADDR" conns
// that have sent a hello and read the first bytes of the answer; "alive" counts those of either that are not reset.
func runLimitsPeer() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go pourAll(ln)
	fmt.Println("ok", ln.Addr())
	var hellos, readers []net.Conn
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		var n int
		var what, addr string
		_, _ = fmt.Sscan(commands.Text(), &what, &n, &addr) // what is left out stays empty
		var err error
		switch what {
		case "hellos":
			hellos, err = slowClients(n, addr, func(c net.Conn) error {
				_, _ = c.Write(paddedHello()[:slowHelloSent]) // it may have been shed
				return nil
			})
		case "readers":
			readers, err = slowClients(n, addr, func(c net.Conn) error { return roundTrip(c, plainHello()) })
		case "alive":
			fmt.Println("ok", alive(hellos), alive(readers))
			continue
		default:
			err = fmt.Errorf("unknown command %q", commands.Text())
		}
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("ok")
	}
	return nil
}

// slowClients opens conns that begin as given and do nothing more.
func slowClients(n int, addr string, begin func(net.Conn) error) ([]net.Conn, error) {
	const hands = 8
	conns := make([]net.Conn, n)
	errs := make([]error, hands)
	var group sync.WaitGroup
	d := net.Dialer{Timeout: idlePatience, Control: func(_, _ string, raw syscall.RawConn) (err error) {
		ctlErr := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, slowReadBuffer)
		})
		return errors.Join(ctlErr, err)
	}}
	for w := range hands {
		group.Go(func() {
			for i := w; i < n && errs[w] == nil; i += hands {
				if conns[i], errs[w] = d.Dial("tcp", addr); errs[w] == nil {
					errs[w] = begin(conns[i])
				}
			}
		})
	}
	group.Wait()
	return conns, errors.Join(errs...)
}

// alive counts the conns that are not reset. It reads nothing of those that have something to read.
func alive(conns []net.Conn) (n int) {
	for _, c := range conns {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			continue
		}
		var failed error
		_ = raw.Control(func(fd uintptr) { // an open socket
			_, _, failed = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		})
		if failed == nil || errors.Is(failed, syscall.EAGAIN) {
			n++
		}
	}
	return n
}

// paddedHello is plainHello with a padding extension (RFC 7685).
func paddedHello() []byte {
	b := plainHello()
	body := b[9 : len(b)-9] // without the extensions, which are 9 bytes with their length
	padding := slowHelloSize - len(b) - 4
	extensions := append([]byte{0, 0x2b, 0, 3, 2, 3, 4, 0, 21, byte(padding >> 8), byte(padding)}, make([]byte, padding)...)
	message := append(append([]byte{}, body...), byte(len(extensions)>>8), byte(len(extensions)))
	message = append(message, extensions...)
	message = append([]byte{1, 0, byte(len(message) >> 8), byte(len(message))}, message...)
	return append([]byte{22, 3, 1, byte(len(message) >> 8), byte(len(message))}, message...)
}

// pourAll sends each conn that has said something an answer, and waits for its end.
func pourAll(ln net.Listener) {
	answer := []byte(answerRecord + strings.Repeat("\x17\x03\x03\x03\xfb"+strings.Repeat("x", 1019), slowAnswer/1024))
	testkit.Accept(ln, func(c net.Conn) {
		if _, err := c.Read(make([]byte, 1024)); err != nil {
			return
		}
		_ = c.SetWriteDeadline(time.Now().Add(time.Hour)) // the test ends it
		if _, err := c.Write(answer); err == nil {
			testkit.Silence(c)
		}
	})
}
