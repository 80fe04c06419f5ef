package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// linkCooked is what a live packet begins with, whatever the interface is.
const linkCooked = layers.LinkTypeLinuxSLL

// onTheWay is how long a packet may be in the ring before it is seen: a block's time, and as much again for a machine that is busy.
const onTheWay = 2 * ringRetire

// Listen opens what an interface receives and sends, through a filter in the kernel; nothing is sent. It needs CAP_NET_RAW, and only
// until it returns: DropPrivileges may follow. Every packet has a Linux cooked header (LinkTypeLinuxSLL) whatever its interface is,
// and no VLAN tags. On a loopback interface each packet is seen once, when it is received.
// Next returns io.EOF when the context is done, TickEvery later at most.
func Listen(ctx context.Context, o Options) (Source, error) {
	program, err := filter(o)
	if err != nil {
		return nil, err
	}
	index := 0
	name := o.Interface
	if name == "" || name == anyInterface {
		name = "all interfaces"
		if o.Promiscuous {
			return nil, errors.New("to take what is for other machines, name one interface")
		}
	} else if index, err = findInterface(name); err != nil {
		return nil, err
	}
	size := o.Buffer
	if size <= 0 {
		size = DefaultBuffer
	}
	code := make([]unix.SockFilter, len(program))
	for i, in := range program {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	r, err := openRing(index, size, &unix.SockFprog{Len: uint16(len(code)), Filter: unsafe.SliceData(code)})
	if err != nil {
		return nil, explain(name, err)
	}
	if o.Promiscuous {
		if err := r.promiscuous(index); err != nil {
			_ = r.close() // the error is the one before
			return nil, fmt.Errorf("interface %s does not take what is for other machines: %w", name, err)
		}
	}
	return &live{ctx: ctx, ring: r, name: name, index: index}, nil
}

// anyInterface is the name that stands for all of them, as tcpdump has it.
const anyInterface = "any"

func findInterface(name string) (int, error) {
	i, err := net.InterfaceByName(name)
	if err == nil {
		return i.Index, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	names := []string{anyInterface}
	for _, i := range all {
		names = append(names, i.Name)
	}
	return 0, fmt.Errorf("there is no interface %s: take one of %s", name, strings.Join(names, ", "))
}

// explain adds what helps to an error of the kernel.
func explain(name string, err error) error {
	err = fmt.Errorf("listening at %s: %w", name, err)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		program := "homing"
		if path, e := os.Executable(); e == nil {
			program = path
		}
		return fmt.Errorf("%w: it needs CAP_NET_RAW: run it as root, or: setcap cap_net_raw+ep %s", err, program)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w: take a smaller buffer", err)
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENOPROTOOPT):
		return fmt.Errorf("%w: this kernel has no packet sockets; capture elsewhere, to a file", err)
	}
	return err
}

// live is the Source of an interface.
type live struct {
	ctx     context.Context // the life of the source, and Next has no other way to hear of its end
	ring    *ring
	name    string
	index   int // 0: all
	packets atomic.Uint64
	bytes   atomic.Uint64
}

func (s *live) Next() (Packet, error) {
	waited := false
	for s.ctx.Err() == nil {
		p, ok := s.ring.next()
		if ok {
			s.packets.Add(1)
			s.bytes.Add(uint64(len(p.Data)))
			return p, nil
		}
		if waited {
			return Packet{Time: time.Now().Add(-onTheWay)}, nil
		}
		if err := s.ring.wait(TickEvery); err != nil {
			if err := s.gone(err); err != nil {
				return Packet{}, err
			}
		}
		waited = true
	}
	return Packet{}, io.EOF
}

// gone judges an error of the socket. An interface that went down may come up again, and the socket then gives packets as before.
func (s *live) gone(err error) error {
	if !errors.Is(err, unix.ENETDOWN) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("listening at %s: %w, behind %d packets", s.name, err, s.packets.Load())
	}
	if _, e := net.InterfaceByIndex(s.index); e != nil {
		return fmt.Errorf("interface %s is gone, behind %d packets", s.name, s.packets.Load())
	}
	return nil
}

func (s *live) Stats() Stats {
	return Stats{Packets: s.packets.Load(), Bytes: s.bytes.Load(), Dropped: s.ring.dropped(), Source: s.name}
}

func (s *live) Close() error { return s.ring.close() }
