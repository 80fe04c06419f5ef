package integration

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"homing/bench/testkit"
)

// sharkNode is a node of tshark's tree of a packet (PDML).
type sharkNode struct {
	XMLName xml.Name
	Name    string      `xml:"name,attr"`
	Show    string      `xml:"show,attr"`
	Value   string      `xml:"value,attr"`
	Below   []sharkNode `xml:",any"`
}

// each calls f for n and all nodes below it, in order.
func (n *sharkNode) each(f func(*sharkNode)) {
	f(n)
	for i := range n.Below {
		n.Below[i].each(f)
	}
}

// all is the values of the nodes of a name, in hex; their shown words where there is no value.
func (n *sharkNode) all(name string) (values []string) {
	n.each(func(x *sharkNode) {
		if x.Name == name {
			values = append(values, x.Value)
		}
	})
	return values
}

// first is the first of all, "" without one.
func (n *sharkNode) first(name string) string {
	for _, v := range n.all(name) {
		return v
	}
	return ""
}

// extension is the body of an extension, in hex.
func (n *sharkNode) extension(number string) (body string, ok bool) {
	n.each(func(x *sharkNode) {
		if len(x.Below) > 1 && x.Below[0].Name == "tls.handshake.extension.type" && x.Below[0].Show == number && len(x.Value) >= 8 {
			body, ok = x.Value[8:], true
		}
	})
	return body, ok
}

// said is what the sides of a conn say in clear, message by message: of each hello, and each ticket of TLS 1.2.
type said struct {
	Client, Server string // addresses with ports
	Words          []string
	Resumed        bool
}

// The words, the same for both witnesses. Values are hex.

func clientWords(name, id, ticket string, hasTicket bool, psks []string, tls13 bool) string {
	return fmt.Sprintf("client name=%s id=%s ticket=%v,%s psk=%s tls13=%v", name, id, hasTicket, ticket, strings.Join(psks, ","), tls13)
}

func serverWords(version, id, psk string) string {
	return fmt.Sprintf("server version=%s id=%s psk=%s", version, id, psk)
}

const retryWords = "server retries"

func ticketWords(ticket string) string { return "ticket " + ticket }

// retryRandom is the random of a ServerHello that is a HelloRetryRequest (RFC 9846, Section 4.2.3).
const retryRandom = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"

// shark asks tshark what it sees in a capture, by stream.
func shark(t *testing.T, file string) map[string]*said {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tshark", "-r", file, "-n", "-T", "pdml",
		"-Y", "tcp && (tls.handshake.type == 1 || tls.handshake.type == 2 || tls.handshake.type == 4)")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	testkit.Check(t, err)
	testkit.Check(t, cmd.Start())
	streams := map[string]*said{}
	d := xml.NewDecoder(out)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		testkit.Check(t, err)
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "packet" {
			var packet sharkNode
			testkit.Check(t, d.DecodeElement(&packet, &start))
			packet.tell(streams)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("tshark: %v: %s", err, &errs)
	}
	return streams
}

// tell adds what a packet says.
func (n *sharkNode) tell(streams map[string]*said) {
	var tcp, ip *sharkNode
	for i := range n.Below {
		switch p := &n.Below[i]; p.Name {
		case "ip", "ipv6":
			ip = p
		case "tcp":
			tcp = p
		case "tls":
			if ip == nil || tcp == nil {
				continue
			}
			p.tellTLS(ip, tcp, streams)
		}
	}
}

func (n *sharkNode) tellTLS(ip, tcp *sharkNode, streams map[string]*said) {
	shown := func(where *sharkNode, name string) (text string) {
		where.each(func(x *sharkNode) {
			if x.Name == name && text == "" {
				text = x.Show
			}
		})
		return text
	}
	from := shown(ip, ip.Name+".src") + " " + shown(tcp, "tcp.srcport")
	to := shown(ip, ip.Name+".dst") + " " + shown(tcp, "tcp.dstport")
	n.each(func(m *sharkNode) {
		if m.Name == "tls.resumed" {
			if s := streams[to+" "+from]; s != nil {
				s.Resumed = true
			}
		}
		if m.Name != "tls.handshake" || len(m.Below) == 0 {
			return
		}
		key := from + " " + to
		kind := m.Below[0].Show
		if kind != "1" && kind != "2" && kind != "4" {
			return
		}
		if kind == "2" || kind == "4" {
			key = to + " " + from
		}
		s := streams[key]
		if s == nil {
			s = &said{Client: from, Server: to}
			if kind == "2" || kind == "4" {
				s.Client, s.Server = to, from
			}
			streams[key] = s
		}
		switch kind {
		case "1":
			s.Words = append(s.Words, m.clientHello())
		case "2":
			s.Words = append(s.Words, m.serverHello())
		case "4":
			s.Words = append(s.Words, ticketWords(m.first("tls.handshake.session_ticket")))
		}
	})
}

func (n *sharkNode) clientHello() string {
	ticket, has := n.extension("35")
	name, _ := hex.DecodeString(n.first("tls.handshake.extensions_server_name"))
	versions, _ := n.extension("43")
	tls13 := false
	for i := 2; i+4 <= len(versions); i += 4 {
		tls13 = tls13 || versions[i:i+4] == "0304"
	}
	return clientWords(strings.ToLower(string(name)), n.first("tls.handshake.session_id"), ticket, has,
		n.all("tls.handshake.extensions.psk.identity.identity"), tls13)
}

func (n *sharkNode) serverHello() string {
	if n.first("tls.handshake.random") == retryRandom {
		return retryWords
	}
	version := n.first("tls.handshake.version")
	if chosen, ok := n.extension("43"); ok {
		version = chosen
	}
	psk := ""
	if chosen, ok := n.extension("41"); ok {
		psk = chosen
	}
	return serverWords(version, n.first("tls.handshake.session_id"), psk)
}
