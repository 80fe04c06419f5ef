package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var netipCompare = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func agentMeta() Meta {
	return Meta{
		Role: RoleAgent, State: StateServing, Version: "v1.2.3", Keys: []KeyPrint{{1, 2}, {3}},
		Announced: Announcement{
			Pool: "default", Backend: netip.MustParseAddrPort("192.0.2.7:443"), Weight: 3,
			Started: 1_700_000_000_000_000_000,
		},
	}
}

func nodeMeta() Meta {
	return Meta{
		Role: RoleNode, State: StateDraining, Name: "lb-1", Standing: true, Version: "v1", Refusal: "no pool",
		Replication: netip.MustParseAddrPort("[2001:db8::1]:7947"),
	}
}

func encoded(t *testing.T, m Meta) []byte {
	t.Helper()
	b, err := m.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMetaRoundTrip(t *testing.T) {
	full := agentMeta()
	full.Name = strings.Repeat("n", maxName)
	full.Version, full.Announced.Pool = strings.Repeat("v", maxSoftware), strings.Repeat("p", maxPool)
	full.Keys = make([]KeyPrint, MaxKeys)
	full.Announced.Backend = netip.MustParseAddrPort("[2001:db8::ffff]:65535")
	refusing := nodeMeta()
	refusing.Name, refusing.Version, refusing.Refusal = full.Name, full.Version, strings.Repeat("r", maxRefusal)
	refusing.Keys = full.Keys
	for _, want := range []Meta{agentMeta(), nodeMeta(), full, {Role: RoleNode, State: StateLeaving}, refusing} {
		b := encoded(t, want)
		if len(b) > maxMeta {
			t.Errorf("%d bytes, memberlist takes %d", len(b), maxMeta)
		}
		var got Meta
		if err := got.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, netipCompare); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// TestMetaPrefixes: no strict prefix can be read, so nothing is taken for whole that is not.
func TestMetaPrefixes(t *testing.T) {
	for _, m := range []Meta{agentMeta(), nodeMeta()} {
		b := encoded(t, m)
		for n := range len(b) {
			var got Meta
			if err := got.UnmarshalBinary(b[:n]); err == nil {
				t.Errorf("%d of %d bytes were read as %+v", n, len(b), got)
			}
		}
	}
}

func TestMetaRefused(t *testing.T) {
	good := encoded(t, agentMeta())
	with := func(fields ...byte) []byte { // before the end
		return append(append(bytes.Clone(good[:len(good)-1]), fields...), tagEnd)
	}
	for _, tt := range []struct {
		why  string
		b    []byte
		want string
	}{
		{"nothing", nil, "ends early"},
		{"another version", append([]byte{2}, good[1:]...), "another version"},
		{"bytes behind the end", append(bytes.Clone(good), 0), "behind the end"},
		{"a field twice", with(tagState, 1, 1), "field 2 twice"},
		{"a role of two bytes", []byte{metaVersion, tagRole, 2, 1, 1, tagEnd}, "2 bytes, not 1"},
		{
			"a role of a later release",
			[]byte{metaVersion, tagRole, 1, 9, tagState, 1, 1, tagEnd},
			"role 9 is not known",
		},
		{"no state", []byte{metaVersion, tagRole, 1, 1, tagEnd}, "state 0 is not known"},
		{
			"half a key print",
			[]byte{metaVersion, tagRole, 1, 1, tagState, 1, 1, tagKeys, 4, 1, 2, 3, 4, tagEnd},
			"no whole number",
		},
		{
			"a control character",
			[]byte{metaVersion, tagRole, 1, 1, tagState, 1, 1, tagSoftware, 1, '\n', tagEnd},
			"printable",
		},
		{
			"a node with a backend",
			[]byte{metaVersion, tagRole, 1, 1, tagState, 1, 1, tagWeight, 2, 0, 1, tagEnd},
			"announces no backend",
		},
		{"an agent without one", []byte{metaVersion, tagRole, 1, 2, tagState, 1, 1, tagEnd}, "pool name"},
		{"too much", make([]byte, maxMeta+1), "513 bytes"},
	} {
		var got Meta
		if err := got.UnmarshalBinary(tt.b); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.why, err, tt.want)
		}
	}
	var got Meta
	if err := got.UnmarshalBinary([]byte{7}); !errors.Is(err, ErrMetaVersion) {
		t.Errorf("%v is not ErrMetaVersion", err)
	}
	if err := got.UnmarshalBinary(with(200, 3, 'n', 'e', 'w')); err != nil {
		t.Errorf("a field of a later release: %v", err)
	}
}

// TestMetaCheck: what is not valid is not sent either.
func TestMetaCheck(t *testing.T) {
	for why, change := range map[string]func(*Meta){
		"weight 0":                func(m *Meta) { m.Announced.Weight = 0 },
		"weight 1001":             func(m *Meta) { m.Announced.Weight = 1001 },
		"port 0":                  func(m *Meta) { m.Announced.Backend = netip.MustParseAddrPort("192.0.2.1:0") },
		"unspecified":             func(m *Meta) { m.Announced.Backend = netip.MustParseAddrPort("0.0.0.0:443") },
		"multicast":               func(m *Meta) { m.Announced.Backend = netip.MustParseAddrPort("224.0.0.1:443") },
		"a zone":                  func(m *Meta) { m.Announced.Backend = netip.MustParseAddrPort("[fe80::1%eth0]:443") },
		"IPv4 mapped":             func(m *Meta) { m.Announced.Backend = netip.MustParseAddrPort("[::ffff:192.0.2.1]:443") },
		"a long pool":             func(m *Meta) { m.Announced.Pool = strings.Repeat("x", 65) },
		"a pool with a new line":  func(m *Meta) { m.Announced.Pool = "a\nb" },
		"too many keys":           func(m *Meta) { m.Keys = make([]KeyPrint, MaxKeys+1) },
		"a role that is not":      func(m *Meta) { m.Role = 0 },
		"a state that is not":     func(m *Meta) { m.State = 5 },
		"a refusal by an agent":   func(m *Meta) { m.Refusal = "no" },
		"a long refusal":          func(m *Meta) { *m = nodeMeta(); m.Refusal = strings.Repeat("x", maxRefusal+1) },
		"a name with a new line":  func(m *Meta) { m.Name = "a\nb" },
		"a version that is a lot": func(m *Meta) { m.Version = strings.Repeat("x", 65) },
	} {
		m := agentMeta()
		change(&m)
		if _, err := m.AppendBinary(nil); err == nil {
			t.Errorf("%s was accepted", why)
		}
	}
}

// FuzzMeta: whatever can be read is valid, and written again it is read as the same.
func FuzzMeta(f *testing.F) {
	for _, m := range []Meta{agentMeta(), nodeMeta()} {
		b, err := m.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var first, second Meta
		if err := first.UnmarshalBinary(b); err != nil {
			return
		}
		again, err := first.AppendBinary(nil)
		if err != nil {
			t.Fatalf("read, but not valid: %v", err)
		}
		if err := second.UnmarshalBinary(again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second, netipCompare); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}
