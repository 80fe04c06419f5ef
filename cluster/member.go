package cluster

import (
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// Member is another member as it is known here.
type Member struct {
	ID   string
	Addr netip.AddrPort // of its gossip
	Meta Meta

	// Alive is false for a member that vanished: it neither answers nor has it left on purpose.
	Alive bool

	// Since is when it first answered at its address, under its ID, to this node or the process before it.
	Since time.Time
}

func about(one *Member) slog.Attr {
	attrs := []slog.Attr{
		slog.String("member", one.ID), slog.String("role", one.Meta.Role.String()),
		slog.String("addr", one.Addr.String()),
		slog.String("state", one.Meta.State.String()),
	}
	if one.Meta.Name != "" {
		attrs = append(attrs, slog.String("name", one.Meta.Name))
	}
	if one.Meta.Role == RoleAgent {
		attrs = append(attrs, slog.String("pool", one.Meta.Announced.Pool),
			slog.String("backend", one.Meta.Announced.Backend.String()))
	}
	return slog.GroupAttrs("", attrs...)
}

func addrOf(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip) // invalid when it is none
	return netip.AddrPortFrom(addr.Unmap(), port)
}

func hostPort(addr netip.AddrPort) string {
	return net.JoinHostPort(addr.Addr().String(), strconv.Itoa(int(addr.Port())))
}

// reach is a node as far as it takes to send it something.
func reach(one *Member) *memberlist.Node {
	return &memberlist.Node{Name: one.ID, Addr: one.Addr.Addr().AsSlice(), Port: one.Addr.Port()}
}
