package pool

import (
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsAnswer is what a name server says, with one record of each time to live; of type text if text is set.
func dnsAnswer(tb testing.TB, text bool, ttls ...uint32) []byte {
	tb.Helper()
	name := dnsmessage.MustNewName("web.example.")
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, Response: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	for _, ttl := range ttls {
		h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: ttl}
		var body dnsmessage.ResourceBody = &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}}
		if text {
			body = &dnsmessage.TXTResource{TXT: []string{"x"}}
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: body})
	}
	b, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestTTL(t *testing.T) {
	whole := dnsAnswer(t, false, 60, 20, 30)
	for name, tt := range map[string]struct {
		message []byte
		want    time.Duration
	}{
		"the shortest":        {whole, 20 * time.Second},
		"zero":                {dnsAnswer(t, false, 0, 5), time.Second},
		"no address":          {dnsAnswer(t, false), 0},
		"another record":      {dnsAnswer(t, true, 3), 0},
		"cut after the first": {whole[:len(whole)-20], 60 * time.Second},
		"a question":          {append([]byte{0, 7, 1, 0}, whole[4:]...), 0},
		"garbage":             {[]byte("not of DNS at all, but longer than a header"), 0},
		"nothing":             {nil, 0},
	} {
		var heard ttl
		heard.hear(tt.message)
		if got := heard.least(); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// FuzzTTL: whatever a name server says is read without a panic, and never as less than a second.
func FuzzTTL(f *testing.F) {
	f.Add(dnsAnswer(f, false, 60, 20, 0))
	f.Add(dnsAnswer(f, true, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, message []byte) {
		var heard ttl
		heard.hear(message)
		if got := heard.least(); got != 0 && got < resolvePause {
			t.Errorf("%v", got)
		}
	})
}
