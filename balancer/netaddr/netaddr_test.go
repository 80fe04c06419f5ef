package netaddr

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseRoundTrip(t *testing.T) {
	for _, text := range []string{"192.0.2.1:443", "[2001:db8::1]:443", "unix:/run/app.sock", "unix:@app"} {
		a, err := Parse(text)
		if err != nil || a.String() != text || !a.IsValid() {
			t.Errorf("%s reads as %s, %v", text, a, err)
		}
		b, err := json.Marshal(struct{ A Addr }{a})
		if err != nil || string(b) != `{"A":"`+text+`"}` {
			t.Errorf("%s is written as %s, %v", text, b, err)
		}
		var back struct{ A Addr }
		if err := json.Unmarshal(b, &back); err != nil || back.A != a {
			t.Errorf("%s comes back as %s, %v", text, back.A, err)
		}
	}
	var none struct{ A Addr }
	b, err := json.Marshal(none)
	if err != nil || string(b) != `{"A":""}` || json.Unmarshal(b, &none) != nil || none.A.IsValid() {
		t.Errorf("none is written as %s, %v, and read as %v", b, err, none.A)
	}
	if a, b := MustParse("[::ffff:192.0.2.1]:443"), MustParse("192.0.2.1:443"); a != b {
		t.Errorf("%v is not %v", a, b)
	}
	if _, err := Parse("localhost:443"); err == nil {
		t.Error("a name was taken for an address")
	}
}

func TestCheckZone(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "", "169.254.1.1": "", "2001:db8::1": "", "fe80::1%eth0": "", "fe80::1%br-lan.7": "",
		"fe80::1":            "name it, such as fe80::1%eth0",
		"fe80::1%2":          "name it, such as fe80::1%eth0",
		"2001:db8::1%eth0":   "write 2001:db8::1",
		"::ffff:192.0.2.1%1": "", // a mapped address has no zone
	} {
		err := CheckZone(netip.MustParseAddr(text))
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestInZone(t *testing.T) {
	ip := netip.MustParseAddr("fe80::1")
	if got := InZone(ip, 0); got != ip {
		t.Errorf("no interface: %s", got)
	}
	if got := InZone(ip, 1); got.String() != "fe80::1%lo" {
		t.Errorf("the first interface: %s", got)
	}
	if got := InZone(ip, 1<<30); got.String() != "fe80::1%1073741824" {
		t.Errorf("no such interface: %s", got)
	}
}

func TestKind(t *testing.T) {
	tcp, file, abstract := Of(netip.MustParseAddrPort("192.0.2.1:443")), Unix("/run/app.sock"), Unix("@app")
	for _, row := range []struct {
		a             Addr
		network, dial string
		unix          bool
	}{
		{tcp, "tcp", "192.0.2.1:443", false},
		{file, "unix", "/run/app.sock", true},
		{abstract, "unix", "@app", true},
	} {
		if a := row.a; a.Network() != row.network || a.Dial() != row.dial || a.IsUnix() != row.unix ||
			(a.Path() != "") != row.unix || a.IP().IsValid() == row.unix {
			t.Errorf("%s: %s %s, unix %v, path %q, IP %v", a, a.Network(), a.Dial(), a.IsUnix(), a.Path(), a.IP())
		}
	}
	all := []Addr{abstract, file, tcp}
	slices.SortFunc(all, Addr.Compare)
	if all[0] != tcp || all[1] != file || all[2] != abstract || file.Compare(file) != 0 {
		t.Errorf("sorted: %v", all)
	}
}

func TestCheckPath(t *testing.T) {
	long := "/" + strings.Repeat("x", MaxPath-1)
	for path, want := range map[string]string{ // a part of the answer; "": it is right
		"/run/app.sock":  "",
		"@app":           "",
		long:             "",
		"@" + long[1:]:   "",
		long + "x":       "is of 108 bytes",
		"@" + long:       "is of 108 bytes",
		"":               "has no path",
		"@":              "has no path",
		"app.sock":       "give the whole path, such as unix:/run/app.sock",
		"/":              "is a directory",
		"/run//app":      "write unix:/run/app",
		"/run/../x":      "write unix:/x",
		"/run/a b":       "a blank",
		"/run/a,b":       "a comma",
		"/run/a\x00b":    "no text",
		"/run/\xff\xfeb": "no text",
	} {
		err := CheckPath(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %q is more than a line", path, err)
		}
	}
}
