package tlscore

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"homing/bench/testkit"
)

var (
	suites12RSA   = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}
	suites12ECDSA = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
	suites13      = []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}
	groups12      = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384}
)

func TestConnSpeaksEverySuiteWithEveryKey(t *testing.T) {
	keys := map[string]crypto.Signer{
		"RSA": testkit.RSA(t), "P-256": testkit.ECDSA(t), "P-384": curveKey(t, elliptic.P384()), "P-521": curveKey(t, elliptic.P521()),
		"Ed25519": ed25519Key(t),
	}
	for name, key := range keys {
		addr, cfg := serve(t, key, nil)
		list := slices.Concat(suites12ECDSA, suites13)
		if name == "RSA" {
			list = slices.Concat(suites12RSA, suites13)
		}
		for _, id := range list {
			t.Run(name+" "+tls.CipherSuiteName(id), func(t *testing.T) {
				version := uint16(tls.VersionTLS12)
				if suiteOf(id).modern {
					version = tls.VersionTLS13
				}
				o := only(cfg, version)
				o.Suites = []uint16{id}
				state := get(t, addr, o).State()
				if state.Version != version || state.Suite != id || state.Resumed || state.Offered != OfferNone || len(state.Certificates) != 1 {
					t.Errorf("%+v", state)
				}
			})
		}
	}
}

// crypto/tls has not all of the old suites; real servers have the others.
func TestConnSpeaksOldSuites(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"RSA": testkit.RSA(t), "ECDSA": testkit.ECDSA(t)} {
		for _, id := range OldSuites() {
			if strings.HasPrefix(tls.CipherSuiteName(id), "0x") || strings.Contains(tls.CipherSuiteName(id), "_RSA_") != (name == "RSA") {
				continue
			}
			addr, o := serve(t, key, func(c *tls.Config) { c.CipherSuites, c.MaxVersion = []uint16{id}, tls.VersionTLS12 })
			o.Suites, o.Tickets = OldSuites(), true
			if err := drive(t, addr, &Options{ServerName: serverName, Roots: o.Roots}).shake(); err == nil {
				t.Errorf("%s was offered unasked", tls.CipherSuiteName(id))
			}
			for range 2 { // the second resumes
				d := get(t, addr, o)
				if state := d.State(); state.Suite != id || state.Resumed != (o.Session != nil) || suiteOf(id).rsa != (state.Group == 0) && !state.Resumed {
					t.Errorf("%s: %+v", tls.CipherSuiteName(id), state)
				}
				o.Session = d.Session()
			}
		}
	}
}

func TestCBCDetectsChanges(t *testing.T) {
	for _, id := range OldSuites() {
		s := suiteOf(id)
		if s.mac == nil {
			continue
		}
		make := func() *protector {
			p, _ := s.protectors(bytes.Repeat([]byte{1}, masterBytes), bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{3}, 32))
			return p
		}
		for _, size := range []int{0, 1, 15, 16, 17, 1000} {
			plain := bytes.Repeat([]byte{7}, size)
			record := make().seal(nil, recordData, plain)
			if kind, got, err := make().open(record[:headerBytes], bytes.Clone(record[headerBytes:])); err != nil || kind != recordData || !bytes.Equal(got, plain) {
				t.Errorf("%s, %d bytes: %x, %v", suiteName(id), size, got, err)
			}
			for i := range record {
				if i == 3 || i == 4 {
					continue // the length is taken off before
				}
				changed := bytes.Clone(record)
				changed[i] ^= 0x80
				if _, _, err := make().open(changed[:headerBytes], changed[headerBytes:]); err == nil {
					t.Errorf("%s, %d bytes: byte %d was changed and nobody noticed", suiteName(id), size, i)
				}
			}
			for n := range len(record) - headerBytes {
				if _, _, err := make().open(record[:headerBytes], bytes.Clone(record[headerBytes:headerBytes+n])); err == nil {
					t.Errorf("%s, %d bytes: cut to %d and nobody noticed", suiteName(id), size, n)
				}
			}
			second := make()
			second.seq = 1
			if _, _, err := second.open(record[:headerBytes], bytes.Clone(record[headerBytes:])); err == nil {
				t.Errorf("%s: a record was taken for the second", suiteName(id))
			}
		}
	}
}

func TestConnSpeaksEveryGroup(t *testing.T) {
	addr, cfg := serve(t, testkit.ECDSA(t), nil)
	reused, err := NewKeyShares(append(groups12, tls.X25519MLKEM768)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, shares := range []*KeyShares{nil, reused} {
			for _, group := range append(groups12, tls.X25519MLKEM768) {
				if group == tls.X25519MLKEM768 && version == tls.VersionTLS12 {
					continue
				}
				o := only(cfg, version)
				o.Groups, o.Shares = []tls.CurveID{group}, shares
				for range 2 {
					if state := get(t, addr, o).State(); state.Group != group || state.Version != version {
						t.Errorf("over %v: %+v", group, state)
					}
				}
			}
		}
	}
}

func TestConnResumes(t *testing.T) {
	addr, cfg := serve(t, testkit.RSA(t), nil)
	other, _ := serve(t, testkit.RSA(t), nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, suite := range slices.Concat(suites12RSA, suites13) {
			if suiteOf(suite).modern != (version == tls.VersionTLS13) {
				continue
			}
			o := only(cfg, version)
			o.Suites, o.Tickets = []uint16{suite}, true
			first := get(t, addr, o)
			if first.Session() == nil || len(first.Session().Ticket) == 0 {
				t.Fatalf("%s: no session", tls.CipherSuiteName(suite))
			}
			kind := OfferTicket
			if version == tls.VersionTLS13 {
				kind = OfferPSK
			}
			o.Session = first.Session()
			for i := range 3 {
				state := get(t, addr, o).State()
				if !state.Resumed || state.Offered != kind || state.Suite != suite || len(state.Certificates) != 1 {
					t.Errorf("%s, conn %d: %+v", tls.CipherSuiteName(suite), i, state)
				}
			}
			// At a server with other keys it is refused, and the handshake is a full one.
			o.Verify = VerifySignature
			if state := get(t, other, o).State(); state.Resumed || state.Offered != kind {
				t.Errorf("%s, at another server: %+v", tls.CipherSuiteName(suite), state)
			}
		}
	}
}

// A client of both versions goes by what the server speaks.
func TestConnOffersBothVersions(t *testing.T) {
	key := testkit.RSA(t)
	classic, cfg := serve(t, key, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	modern, modernConfig := serve(t, key, nil)
	for addr, o := range map[string]Options{classic: cfg, modern: modernConfig} {
		o.Tickets = true
		first := get(t, addr, o)
		o.Session = first.Session()
		if state := get(t, addr, o).State(); !state.Resumed || state.Version != first.State().Version {
			t.Errorf("%+v", state)
		}
	}
	// A TLS 1.2 session before a server that has learned TLS 1.3 meanwhile: a full handshake of TLS 1.3.
	o := cfg
	o.Tickets = true
	o.Session = get(t, classic, o).Session()
	o.Roots = modernConfig.Roots
	if state := get(t, modern, o).State(); state.Resumed || state.Version != tls.VersionTLS13 || state.Offered != OfferTicket {
		t.Errorf("%+v", state)
	}
}

func TestConnDoesNotOfferWhatDoesNotFit(t *testing.T) {
	ticket := &Session{Version: tls.VersionTLS12, Ticket: []byte("t")}
	both := &Session{Version: tls.VersionTLS12, Ticket: []byte("t"), ID: []byte("i")}
	psk := &Session{Version: tls.VersionTLS13, Ticket: []byte("t")}
	for _, tt := range []struct {
		o    Options
		want Kind
	}{
		{Options{}, OfferNone},
		{Options{Session: ticket}, OfferNone},
		{Options{Session: ticket, Tickets: true}, OfferTicket},
		{Options{Session: ticket, Tickets: true, MinVersion: tls.VersionTLS13}, OfferNone},
		{Options{Session: both}, OfferID},
		{Options{Session: both, MinVersion: tls.VersionTLS13}, OfferNone},
		{Options{Session: both, Tickets: true}, OfferTicket},
		{Options{Session: psk}, OfferPSK},
		{Options{Session: psk, MaxVersion: tls.VersionTLS12}, OfferNone},
	} {
		if got := tt.o.kind(); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.o, got, tt.want)
		}
	}
}

func TestConnRetries(t *testing.T) {
	addr, cfg := serve(t, testkit.ECDSA(t), func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP384} })
	o := only(cfg, tls.VersionTLS13)
	first := get(t, addr, o)
	if state := first.State(); !state.Retried || state.Group != tls.CurveP384 {
		t.Errorf("%+v", state)
	}
	o.Session = first.Session()
	if state := get(t, addr, o).State(); !state.Retried || !state.Resumed {
		t.Errorf("a PSK behind a HelloRetryRequest: %+v", state)
	}
	o.Shape = Chrome()
	if state := get(t, addr, o).State(); !state.Retried || !state.Resumed {
		t.Errorf("the same in the shape of Chrome: %+v", state)
	}
}

func TestConnALPN(t *testing.T) {
	addr, cfg := serve(t, testkit.ECDSA(t), func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} })
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		o := only(cfg, version)
		o.ALPN = []string{"h2", "http/1.1"}
		if state := get(t, addr, o).State(); state.ALPN != "http/1.1" {
			t.Errorf("%s: %+v", tls.VersionName(version), state)
		}
		o.ALPN = []string{"h2"}
		err := drive(t, addr, &o).shake()
		if alert := tls.AlertError(0); !errors.As(err, &alert) || alert != 120 { // no_application_protocol
			t.Errorf("%s, nothing in common: %v", tls.VersionName(version), err)
		}
	}
}

func TestConnAnswersACertificateRequest(t *testing.T) {
	addr, cfg := serve(t, testkit.ECDSA(t), func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert })
	strict, _ := serve(t, testkit.ECDSA(t), func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		o := only(cfg, version)
		if !get(t, addr, o).State().Asked {
			t.Errorf("%s: the state does not say that the server asked", tls.VersionName(version))
		}
		o.Verify = VerifySignature
		d := drive(t, strict, &o)
		err := d.shake()
		for err == nil { // a TLS 1.3 server looks behind the handshake
			err = d.step()
		}
		if alert := tls.AlertError(0); !errors.As(err, &alert) {
			t.Errorf("%s: a server that wants a certificate: %v", tls.VersionName(version), err)
		}
	}
}

func TestConnCarriesMuchBothWays(t *testing.T) {
	const size = 3<<20 + 7
	addr, cfg := echo(t)
	for _, suite := range slices.Concat(suites12ECDSA, suites13) {
		version := uint16(tls.VersionTLS12)
		if suiteOf(suite).modern {
			version = tls.VersionTLS13
		}
		o := only(cfg, version)
		o.Suites = []uint16{suite}
		d := drive(t, addr, &o)
		if err := d.shake(); err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte("homing"), size/6+1)[:size]
		if err := d.Write(want); err != nil {
			t.Fatal(err)
		}
		d.CloseWrite()
		sent := slices.Clone(d.Output())
		wrote := make(chan error, 1)
		go func() {
			_, err := d.raw.Write(sent)
			wrote <- err
		}()
		if err := errors.Join(d.until(d.Closed), <-wrote); err != nil || !bytes.Equal(d.data, want) {
			t.Errorf("%s: %d bytes came back, %v", tls.CipherSuiteName(suite), len(d.data), err)
		}
		if d.Received() < size {
			t.Errorf("%s: %d bytes received", tls.CipherSuiteName(suite), d.Received())
		}
	}
}

// echo starts a crypto/tls server that sends back what it gets until the client says that no more comes.
func echo(t testing.TB) (string, Options) {
	t.Helper()
	key := testkit.ECDSA(t)
	cert, roots := certify(t, key)
	cfg := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	addr := testkit.ServeTLS(t, cfg, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	return addr, Options{ServerName: serverName, Roots: roots}
}

// What comes may come in any pieces.
func TestConnTakesAnyChunking(t *testing.T) {
	addr, cfg := serve(t, testkit.RSA(t), nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		o := only(cfg, version)
		o.Tickets = true
		for _, size := range []int{1, 2, 3, 5, 7, 100, 1 << 16} {
			for range 2 { // the second resumes
				d := drive(t, addr, &o)
				d.room = make([]byte, size)
				if err := errors.Join(d.shake(), d.ask()); err != nil {
					t.Fatalf("%s in pieces of %d: %v", tls.VersionName(version), size, err)
				}
				if d.State().Resumed != (o.Session != nil) {
					t.Errorf("%s in pieces of %d: %+v", tls.VersionName(version), size, d.State())
				}
				o.Session = d.Session()
			}
			o.Session = nil
		}
	}
}

func TestConnTellsWhatIsNotTLS(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "5", "\x16\x05\x01\x00\x00"} {
		c, err := New(&Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = c.Receive([]byte(answer), nil)
		var e *NotTLSError
		if !errors.As(err, &e) || string(e.Start) != answer {
			t.Errorf("%q: error %v", answer, err)
		}
		if again := c.Receive([]byte("more"), nil); again != err {
			t.Errorf("%q: then error %v", answer, again)
		}
	}
}

func TestConnWriteBeforeTheHandshake(t *testing.T) {
	c, err := New(&Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write([]byte("a")); err == nil {
		t.Error("data was taken before there was a key for it")
	}
	if hello := c.Output(); len(hello) != c.HelloLen() || c.Output() != nil {
		t.Errorf("the output is %d bytes, the hello %d", len(hello), c.HelloLen())
	}
}

// In bulk nothing is allocated and nothing copied: what comes is opened where it lies.
func TestConnOpensInPlaceWithoutAllocation(t *testing.T) {
	for _, id := range slices.Concat(suites12ECDSA[:1], suites13) {
		s := suiteOf(id)
		key, iv := make([]byte, s.key), make([]byte, s.ivBytes())
		sealer := s.protect(key, iv)
		c := &Conn{side: side{shaken: true}}
		c.in.modern, c.in.begun = s.modern, true
		c.in.open = s.protect(key, iv)
		var wire []byte
		plain := bytes.Repeat([]byte{7}, maxPlaintext)
		room := make([]byte, 0, 4*maxRecord)
		got := 0
		data := func(b []byte) { got += len(b) }
		allocs := testing.AllocsPerRun(50, func() {
			wire = room
			for range 3 {
				wire = sealer.seal(wire, recordData, plain)
			}
			if err := c.Receive(wire, data); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 || got != 51*3*maxPlaintext {
			t.Errorf("%s: %v allocations, %d bytes", tls.CipherSuiteName(id), allocs, got)
		}
	}
}

func TestOptionsCheck(t *testing.T) {
	for want, o := range map[string]Options{
		"only TLS 1.2 and 1.3":  {MinVersion: tls.VersionTLS10},
		"offer TLS 1.3 to TLS ": {MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS12},
		"pad the hello":         {PadTo: 70000},
		"records of -1":         {RecordBytes: -1},
		"records of 20000":      {RecordBytes: 20000},
		"server name of":        {ServerName: string(make([]byte, 300))},
		"no key exchange":       {Groups: []tls.CurveID{tls.CurveP521}},
		"no cipher suite":       {Suites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}},
		"an ALPN protocol":      {ALPN: []string{""}},
		"a ticket of":           {Session: &Session{Ticket: make([]byte, 40000)}},
	} {
		_, err := New(&o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
		if _, err := o.Hello(); err == nil {
			t.Errorf("%s: a hello was made", want)
		}
	}
	if got := fmt.Sprint(OfferNone, OfferID, OfferTicket, OfferPSK); got != "none session ID ticket PSK" {
		t.Error(got)
	}
}
