package tlscore

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/bench/testkit"
)

// recorded returns a hello that a client was seen to send, without the headers of its records.
func recorded(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("../../tlsparse/testdata/hellos/" + name + ".hex")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return unwrap(t, b)
}

// unwrap takes a message out of its records.
func unwrap(t *testing.T, b []byte) []byte {
	t.Helper()
	r := reader{b: b}
	var msg []byte
	for len(r.b) > 0 {
		r.bytes(3)
		msg = append(msg, r.vector16()...)
	}
	if r.bad {
		t.Fatal("a record is cut off")
	}
	return msg
}

// outline is what a hello is made of: cipher suites and extensions, GREASE as 0x0a0a.
func outline(t *testing.T, msg []byte) (suites, extensions []uint16) {
	t.Helper()
	plain := func(v uint16) uint16 {
		if v&0x0f0f == 0x0a0a && v>>8 == v&0xff {
			return 0x0a0a
		}
		return v
	}
	r := reader{b: msg[4:]}
	r.bytes(2 + 32)
	r.vector8()
	list := reader{b: r.vector16()}
	for len(list.b) > 0 {
		suites = append(suites, plain(list.uint16()))
	}
	r.vector8()
	ok := r.extensions(func(id uint16, body *reader) {
		extensions = append(extensions, plain(id))
		body.b = nil
	})
	if !ok || !r.whole() {
		t.Fatal("the hello is malformed")
	}
	return suites, extensions
}

// browser makes the hello of a shape as the recorded ones were made.
func browser(t *testing.T, s *Shape) []byte {
	t.Helper()
	o := &Options{ServerName: "www.example.org", ALPN: []string{"h2", "http/1.1"}, Tickets: true, Shape: s}
	hello, err := o.Hello()
	if err != nil {
		t.Fatal(err)
	}
	return unwrap(t, hello)
}

func TestShapeIsThatOfABrowser(t *testing.T) {
	real, ours := recorded(t, "chrome-133-fresh"), browser(t, Chrome())
	if len(ours) != len(real) {
		t.Errorf("%d bytes, recorded were %d", len(ours), len(real))
	}
	suites, extensions := outline(t, ours)
	wantSuites, wantExtensions := outline(t, real)
	slices.Sort(extensions) // they are shuffled
	slices.Sort(wantExtensions)
	if !slices.Equal(suites, wantSuites) || !slices.Equal(extensions, wantExtensions) {
		t.Errorf("suites %04x, recorded %04x; extensions %v, recorded %v", suites, wantSuites, extensions, wantExtensions)
	}
}

// A shape with a PSK has it last, and is longer by what the PSK takes.
func TestShapeWithPSK(t *testing.T) {
	real := recorded(t, "chrome-115-pq-psk")
	body, _ := helloExtension(real, extensionPreSharedKey)
	r := reader{b: body}
	list := reader{b: r.vector16()}
	ticket := list.vector16()
	s := &Session{
		Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, Ticket: bytes.Clone(ticket), secret: make([]byte, 32), Received: time.Now(),
	}
	o := &Options{ServerName: "www.example.org", ALPN: []string{"h2", "http/1.1"}, Tickets: true, Shape: Chrome(), Session: s}
	hello, err := o.Hello()
	if err != nil {
		t.Fatal(err)
	}
	ours := unwrap(t, hello)
	_, extensions := outline(t, ours)
	if extensions[len(extensions)-1] != extensionPreSharedKey {
		t.Errorf("pre_shared_key is not last: %v", extensions)
	}
	const ech = 4 + 186 // which Chromium 115 did not send
	if len(ours) != len(real)+ech {
		t.Errorf("%d bytes, recorded were %d", len(ours), len(real))
	}
}

func TestShapesVary(t *testing.T) {
	orders, grease := map[string]bool{}, map[string]bool{}
	for range 50 {
		hello := browser(t, Chrome())
		_, extensions := outline(t, hello)
		if extensions[0] != 0x0a0a || extensions[len(extensions)-1] != 0x0a0a {
			t.Fatalf("GREASE does not stand at both ends: %v", extensions)
		}
		orders[string(uint16s(extensions...))] = true
		grease[string(hello[4+2+32+1+32+2:][:2])] = true
	}
	if len(orders) < 40 || len(grease) < 8 {
		t.Errorf("%d orders and %d values of GREASE in 50 hellos", len(orders), len(grease))
	}
}

// Each shape shakes hands and resumes in both versions, whole and cut.
func TestShapesShakeHands(t *testing.T) {
	addr, cfg := serve(t, testkit.RSA(t), nil)
	for _, shape := range []*Shape{Plain(), Chrome()} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, cut := range []int{0, 1, 100} {
				o := only(cfg, version)
				o.Shape, o.Tickets, o.RecordBytes = shape, true, cut
				for range 2 {
					d := get(t, addr, o)
					if state := d.State(); state.Version != version || state.Resumed != (o.Session != nil) {
						t.Errorf("%s, %s, records of %d: %+v", shape.Name, tls.VersionName(version), cut, state)
					}
					o.Session = d.Session()
				}
			}
		}
	}
}

func TestHelloPadding(t *testing.T) {
	for _, size := range []int{600, 4096, 16000, 60000} {
		o := &Options{ServerName: serverName, PadTo: size}
		hello, err := o.Hello()
		if err != nil {
			t.Fatal(err)
		}
		if msg := unwrap(t, hello); len(msg) != size {
			t.Errorf("%d bytes, want %d", len(msg), size)
		}
		o.RecordBytes = 1000
		if hello, err = o.Hello(); err != nil {
			t.Fatal(err)
		}
		if want := size + (size+999)/1000*headerBytes; len(hello) != want {
			t.Errorf("cut into records: %d bytes, want %d", len(hello), want)
		}
	}
	addr, o := serve(t, testkit.ECDSA(t), nil)
	o.PadTo = 15000
	get(t, addr, o)
}
