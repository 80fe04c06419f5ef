package observe

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/spf13/cobra"

	"homing/bench/testkit"
	"homing/cmd/internal/usage"
)

// command runs homing observe.
func command(stdin []byte, args ...string) (code int, stdout, stderr string) {
	root := &cobra.Command{Use: "homing"}
	root.AddCommand(NewCommand())
	root.SetIn(bytes.NewReader(stdin))
	var out, errs bytes.Buffer
	code = usage.Execute(context.Background(), root, append([]string{"observe"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// said is what one side wrote at once.
type said struct {
	server bool
	bytes  []byte
}

// noted is a conn whose writes are noted.
type noted struct {
	net.Conn
	server bool
	mu     *sync.Mutex
	talk   *[]said
}

func (n *noted) Write(b []byte) (int, error) {
	n.mu.Lock()
	*n.talk = append(*n.talk, said{n.server, bytes.Clone(b)})
	n.mu.Unlock()
	return n.Conn.Write(b)
}

// speak is a conn of crypto/tls with itself, with a question and an answer.
func speak(t *testing.T, client, server *tls.Config) (talk []said, resumed bool) {
	t.Helper()
	var mu sync.Mutex
	a, b := pair(t)
	c := tls.Client(&noted{a, false, &mu, &talk}, client)
	s := tls.Server(&noted{b, true, &mu, &talk}, server)
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 8)
		_, err := s.Read(buf)
		if err == nil {
			_, err = s.Write([]byte("answer"))
		}
		done <- err
	}()
	_, err := c.Write([]byte("question"))
	testkit.Check(t, err)
	_, err = c.Read(make([]byte, 8))
	testkit.Check(t, err)
	testkit.Check(t, <-done)
	testkit.Check(t, a.Close())
	testkit.Check(t, b.Close())
	return talk, c.ConnectionState().DidResume
}

// pair is the two ends of a conn. (Writes to a net.Pipe wait for the reader: both ends of TLS 1.3 may write at the same time.)
func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Check(t, err)
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	testkit.Check(t, err)
	b, err = l.Accept()
	testkit.Check(t, err)
	return a, b
}

// recording is a capture file.
type recording struct {
	*testing.T
	bytes.Buffer
	w    *pcapgo.Writer
	now  time.Time
	port uint16
}

func newRecording(t *testing.T) *recording {
	r := &recording{T: t, now: time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC), port: 10_000}
	r.w = pcapgo.NewWriter(&r.Buffer)
	testkit.Check(t, r.w.WriteFileHeader(65536, layers.LinkTypeEthernet))
	return r
}

// conn writes the packets of a talk between a client and a server.
func (r *recording) conn(client, server string, talk []said) {
	r.port++
	seq := [2]uint32{1000, 2000} // of client and server
	send := func(from int, flags string, data []byte) {
		r.now = r.now.Add(time.Millisecond)
		ends := [2]net.IP{net.ParseIP(client).To4(), net.ParseIP(server).To4()}
		ports := [2]layers.TCPPort{layers.TCPPort(r.port), 443}
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ends[from], DstIP: ends[1-from]}
		tcp := &layers.TCP{SrcPort: ports[from], DstPort: ports[1-from], Seq: seq[from], Ack: seq[1-from], ACK: true, Window: 65535}
		switch flags {
		case "S":
			tcp.SYN, tcp.ACK = true, from == 1
			seq[from]++
		case "F":
			tcp.FIN = true
			seq[from]++
		}
		seq[from] += uint32(len(data))
		testkit.Check(r, tcp.SetNetworkLayerForChecksum(ip))
		b := gopacket.NewSerializeBuffer()
		eth := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}
		testkit.Check(r, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp, gopacket.Payload(data)))
		testkit.Check(r, r.w.WritePacket(gopacket.CaptureInfo{Timestamp: r.now, CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}, b.Bytes()))
	}
	send(0, "S", nil)
	send(1, "S", nil)
	send(0, "", nil)
	for _, s := range talk {
		from := 0
		if s.server {
			from = 1
		}
		for len(s.bytes) > 0 {
			n := min(len(s.bytes), 1400)
			send(from, "", s.bytes[:n])
			s.bytes = s.bytes[n:]
		}
	}
	send(0, "F", nil)
	send(1, "F", nil)
	send(0, "", nil)
}

// farm is three servers with keys of their own, which say that they are site.example.
func farm(t *testing.T, version uint16) (servers []*tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Check(t, err)
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"site.example"}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	testkit.Check(t, err)
	for range 3 {
		servers = append(servers, &tls.Config{MaxVersion: version, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	}
	return servers
}

// site records clients that come again and again, each to the server that its turn in order says. It returns how many
// offers there were, and how many were resumed.
func site(t *testing.T, r *recording, version uint16, clients int, order []int) (offers, resumed int) {
	t.Helper()
	servers := farm(t, version)
	for n := range clients {
		cfg := &tls.Config{ServerName: "site.example", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
		for turn, at := range order {
			talk, did := speak(t, cfg, servers[at])
			r.conn(net.IPv4(192, 0, 2, byte(n+1)).String(), net.IPv4(10, 0, 0, byte(at+1)).String(), talk)
			if turn > 0 {
				offers++
			}
			if did {
				resumed++
			}
		}
	}
	return offers, resumed
}
