package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"homing/cluster/bound"
)

func TestCommandRoundTrip(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, want := range []Order{
		{Op: OpKeyAdd, Key: key(9), Print: PrintOf(key(9))},
		{Op: OpKeyUse, Print: PrintOf(key(9)), Force: true},
		{Op: OpKeyRemove, Print: PrintOf(key(8))},
	} {
		sealed, err := want.Seal(key(1), now)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) > maxSealed || bytes.Contains(sealed, key(9)[:8]) {
			t.Errorf("%v: %d bytes, or the key stands in them", want.Op, len(sealed))
		}
		got, err := openCommand([][]byte{key(2), key(1)}, sealed) // an old and a new node key are trusted
		if err != nil || !got.at.Equal(now) {
			t.Fatalf("%v: %v, %+v", want.Op, err, got)
		}
		if diff := cmp.Diff(&want, got, cmpopts.EquateComparable(netip.AddrPort{}),
			cmpopts.IgnoreUnexported(Order{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if _, err := openCommand([][]byte{key(2)}, sealed); !errors.Is(err, ErrCommand) {
			t.Errorf("another node key opened it: %v", err)
		}
		for i := range sealed {
			broken := bytes.Clone(sealed)
			broken[i] ^= 1
			if _, err := openCommand([][]byte{key(1)}, broken); !errors.Is(err, ErrCommand) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
			if _, err := openCommand([][]byte{key(1)}, sealed[:i]); !errors.Is(err, ErrCommand) {
				t.Fatalf("%d bytes: %v", i, err)
			}
		}
	}
}

func TestParseCommandRefuses(t *testing.T) {
	good := append([]byte{commandVersion, byte(OpKeyUse), 0, 0, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 8)...)
	if _, err := parseCommand(good); err != nil {
		t.Fatal(err)
	}
	for why, change := range map[string]func([]byte) []byte{
		"another version":      func(b []byte) []byte { b[0] = 2; return b },
		"another command":      func(b []byte) []byte { b[1] = 7; return b },
		"a print that is long": func(b []byte) []byte { return append(b, 0) },
		"a key that is short":  func(b []byte) []byte { b[1] = byte(OpKeyAdd); return b },
		"nothing":              func([]byte) []byte { return nil },
	} {
		if _, err := parseCommand(change(bytes.Clone(good))); err == nil {
			t.Errorf("%s was read", why)
		}
	}
}

func TestReplayGuard(t *testing.T) {
	g := bound.Recent[[nonceBytes]byte]{Max: maxReplays}
	now := time.Unix(1_800_000_000, 0)
	nonce := func(i int) []byte { return slices.Concat([]byte{byte(i), byte(i >> 8)}, make([]byte, nonceBytes)) }
	for _, tt := range []struct {
		why     string
		nonce   int
		at, now time.Time
		want    string
	}{
		{"a command of now", 1, now, now, ""},
		{"again", 1, now, now.Add(time.Second), "given before"},
		{"another", 2, now, now.Add(time.Second), ""},
		{"an old one", 3, now.Add(-commandAge - time.Second), now, "off the clock"},
		{"one of the future", 4, now.Add(commandAge + time.Second), now, "off the clock"},
		{"again, as late as it can be", 1, now, now.Add(commandAge), "given before"},
		{"one whose sender's clock is ahead", 5, now.Add(commandAge), now, ""},
		{"again, as late as that can be", 5, now.Add(commandAge), now.Add(2 * commandAge), "given before"},
	} {
		err := admit(&g, nonce(tt.nonce), tt.at, tt.now)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.why, err, tt.want)
		}
	}
	later := now.Add(time.Hour)
	for i := range 2 * maxReplays {
		_ = admit(&g, nonce(i), later, later)
	}
	if len(g.All()) > maxReplays {
		t.Errorf("%d nonces are kept", len(g.All()))
	}
}

func TestJudgeCommand(t *testing.T) {
	old, fresh := PrintOf(key(1)), PrintOf(key(2))
	member := func(role Role, alive bool, keys ...KeyPrint) Member {
		return Member{ID: "m", Alive: alive, Meta: Meta{Role: role, Keys: keys}}
	}
	for _, tt := range []struct {
		why     string
		op      Op
		print   KeyPrint
		members []Member
		ok      bool
	}{
		{"alone", OpKeyUse, fresh, nil, true},
		{
			"all have it", OpKeyUse, fresh,
			[]Member{member(RoleNode, true, old, fresh), member(RoleAgent, true, fresh, old)},
			true,
		},
		{"a node does not", OpKeyUse, fresh, []Member{member(RoleNode, true, old)}, false},
		{"an agent does not", OpKeyUse, fresh, []Member{member(RoleAgent, true, old)}, false},
		{
			"a node is missing, and cannot be told", OpKeyUse, fresh,
			[]Member{member(RoleNode, false, old, fresh)},
			false,
		},
		{"an agent vanished", OpKeyUse, fresh, []Member{member(RoleAgent, false, old)}, true},
		{"nobody uses it", OpKeyRemove, old, []Member{member(RoleNode, true, fresh, old)}, true},
		{"an agent uses it", OpKeyRemove, old, []Member{member(RoleAgent, true, old, fresh)}, false},
		{"adding cuts nobody off", OpKeyAdd, fresh, []Member{member(RoleNode, true, old)}, true},
	} {
		err := (&Order{Op: tt.op, Print: tt.print}).judge(tt.members)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.why, err)
		}
	}
}
