package integration

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/capture"
	"homing/cmd/homing/internal/observe/flow"
	"homing/tlsparse"
)

// witness notes what flow says of conns.
type witness struct {
	order []*testimony
}

// testimony is what was said of one conn.
type testimony struct {
	said
	client, server netip.AddrPort
	offer          string
	version        uint16
	resumed        bool
	answered       bool // resumed is known
	complete       bool
	end            flow.End
	settled        bool
	notTLS         bool

	id, offeredID []byte
	ticket        []byte
}

// handshake is the testimony in the words of the truth.
func (x *testimony) handshake() handshake {
	version := map[uint16]string{0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}[x.version]
	return handshake{Server: x.server, Port: x.client.Port(), Version: version, Offer: x.offer, Resumed: x.resumed}
}

func (w *witness) Open(c *flow.Conn) {
	s := &testimony{client: c.Client, server: c.Server}
	s.Client, s.Server = addrWords(c.Client), addrWords(c.Server)
	w.order = append(w.order, s)
	c.Data = s
}

// addrWords is an address as tshark's fields have it.
func addrWords(a netip.AddrPort) string { return fmt.Sprintf("%v %d", a.Addr(), a.Port()) }

func (w *witness) Hello(c *flow.Conn, h *tlsparse.Hello, _ int) {
	s := c.Data.(*testimony)
	var psks []string
	for i := range h.PSKCount() {
		psks = append(psks, hex.EncodeToString(h.PSK(i)))
	}
	s.offer = offersNothing
	switch {
	case h.HasPSK:
		s.offer = offersPSK
	case len(h.Ticket) > 0:
		s.offer = offersTicket
	case len(h.SessionID) > 0:
		s.offer = offersID
	}
	s.offeredID = append([]byte(nil), h.SessionID...)
	s.Words = append(s.Words, clientWords(string(h.ServerName()), hex.EncodeToString(h.SessionID), hex.EncodeToString(h.Ticket), h.HasTicket, psks, h.TLS13))
}

func (w *witness) NotTLS(c *flow.Conn, _ tlsparse.Status) { c.Data.(*testimony).notTLS = true }

func (w *witness) Answer(c *flow.Conn, server *tlsparse.Server, ev tlsparse.Event) {
	s := c.Data.(*testimony)
	switch ev {
	case tlsparse.EventRetry:
		s.Words = append(s.Words, retryWords)
	case tlsparse.EventHello:
		psk := ""
		i, ok := server.PSKAccepted()
		if ok {
			psk = fmt.Sprintf("%04x", i)
		}
		s.version, s.id = server.Version(), append([]byte(nil), server.SessionID()...)
		s.Words = append(s.Words, serverWords(fmt.Sprintf("%04x", s.version), hex.EncodeToString(s.id), psk))
		if s.version >= 0x0304 {
			s.answered, s.resumed = true, ok
			if s.offer == offersID {
				s.offer = offersNothing // a token of TLS 1.3
			}
		}
	case tlsparse.EventTicketPart:
		s.ticket = append(s.ticket, server.TicketPart()...)
	case tlsparse.EventTicket:
		s.Words = append(s.Words, ticketWords(hex.EncodeToString(s.ticket)))
	case tlsparse.EventMessage:
		s.answered = true
	case tlsparse.EventChangeCipherSpec:
		if !s.answered {
			s.answered, s.resumed = true, true
		}
	}
}

func (w *witness) Replied(c *flow.Conn) { c.Data.(*testimony).complete = true }

func (w *witness) Close(c *flow.Conn, why flow.End) {
	s := c.Data.(*testimony)
	s.end, s.settled = why, c.Settled
}

// testify lets flow read a capture, and returns what it says of all conns, and what it counts.
func testify(t *testing.T, file string, ports ...uint16) ([]*testimony, flow.Stats) {
	t.Helper()
	source, err := capture.Open(t.Context(), []string{file}, nil)
	testkit.Check(t, err)
	defer source.Close()
	w := &witness{}
	a := flow.New(flow.Config{Ports: ports, Handler: w})
	for {
		p, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Logf("%s: %v", file, err)
			break
		}
		a.Packet(p)
	}
	a.Flush()
	return w.order, a.Stats()
}

// clearWords is what of words stands before the answer goes dark: of a conn that renegotiates, or that a key opens, tshark has more.
func clearWords(words []string) (list []string) {
	clients, hello, version13 := 1, false, false
	if len(words) > 0 && !strings.HasPrefix(words[0], "client") {
		return nil // the answer to what is no hello: of SSL 2
	}
	for _, w := range words {
		kind := w[:min(6, len(w))]
		switch {
		case kind == "client":
			if clients == 0 {
				continue
			}
			clients--
		case w == retryWords:
			clients++
		case strings.HasPrefix(w, "server version=7f"):
			return list // a draft of TLS 1.3
		case kind == "server":
			if hello {
				continue
			}
			hello, version13 = true, strings.HasPrefix(w, "server version=0304")
		case kind == "ticket":
			if version13 || !hello {
				continue
			}
			version13 = true // one
		}
		list = append(list, w)
	}
	return list
}
