package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"

	"homing/bench/testkit"
)

func wordOf(w word) []byte { return w.wire() }

// answerOf is an answer in memberlist's words.
func answerOf(t testing.TB, own []byte, entries ...exchangeEntry) []byte {
	t.Helper()
	b := bytes.NewBuffer([]byte{gossipPushPull})
	enc := codec.NewEncoder(b, &codec.MsgpackHandle{})
	if err := enc.Encode(exchangeHeader{Nodes: len(entries), UserStateLen: len(own)}); err != nil {
		t.Fatal(err)
	}
	for _, one := range entries {
		if err := enc.Encode(one); err != nil {
			t.Fatal(err)
		}
	}
	return append(b.Bytes(), own...)
}

func entryOf(name, addr string, state memberlist.NodeStateType) exchangeEntry {
	at := netip.MustParseAddrPort(addr)
	return exchangeEntry{
		Name: name, Addr: at.Addr().AsSlice(), Port: at.Port(), Meta: []byte(name + "'s"),
		State: state,
	}
}

// TestParseAnswer: of all that an answer says only the word of who was asked counts.
func TestParseAnswer(t *testing.T) {
	asked := netip.MustParseAddrPort("192.0.2.1:7946")
	own, other := entryOf("own", "192.0.2.1:7946", memberlist.StateAlive),
		entryOf("other", "192.0.2.2:7946", memberlist.StateAlive)
	twin := entryOf("twin", "192.0.2.1:7946", memberlist.StateAlive)
	for _, tt := range []struct {
		why    string
		answer []byte
		known  string
		want   string
		err    error
	}{
		{
			"its word, whatever others say of its address", answerOf(t, wordOf(word{"own", []byte("own's")}), other, twin),
			"", "own", nil,
		},
		{"an older release: its entry", answerOf(t, nil, other, own), "", "own", nil},
		{"a later release: its entry", answerOf(t, []byte{wordVersion + 1, 3, 1, 2, 3}, other, own), "", "own", nil},
		{"an older release of which others speak too", answerOf(t, nil, other, own, twin), "third", "", errAmbiguous},
		{"and that is known", answerOf(t, nil, other, twin, own), "own", "own", nil},
		{
			"one that was there before does not count",
			answerOf(t, nil, own, entryOf("twin", "192.0.2.1:7946", memberlist.StateDead)), "", "own", nil,
		},
		{"somebody else answers", answerOf(t, nil, other), "own", "", errNotThere},
	} {
		w, err := parseAnswer(tt.answer, asked, tt.known)
		if w.ID != tt.want || !errors.Is(err, tt.err) || err == nil && string(w.Meta) != tt.want+"'s" {
			t.Errorf("%s: %q %q, %v", tt.why, w.ID, w.Meta, err)
		}
	}
	whole := answerOf(t, wordOf(word{"own", nil}), other)
	for n := range len(whole) {
		_, _ = parseAnswer(whole[:n], asked, "") // it says no, and does not panic
	}
}

// TestAskSecrets: an answer counts only if it is encrypted with a key of ours.
func TestAskSecrets(t *testing.T) {
	t.Parallel()
	asker := startMember(t, Config{Keys: ringOf(t, key(1), key(2)), Label: "l"})
	for _, tt := range []struct {
		why   string
		keys  *Keyring
		label string
		ok    bool
	}{
		{"our key", ringOf(t, key(1)), "l", true},
		{"another that we trust, and ours", ringOf(t, key(2), key(1)), "l", true},
		{"a key that we do not have", ringOf(t, key(3), key(1)), "l", false},
		{"no key", nil, "l", false},
		{"another label", ringOf(t, key(1)), "m", false},
	} {
		asked := startMember(t, Config{Keys: tt.keys, Label: tt.label})
		w, err := asker.ask(asked.Addr(), "")
		if (err == nil) != tt.ok || tt.ok && w.ID != asked.cfg.ID {
			t.Errorf("%s: %q, %v", tt.why, w.ID, err)
		}
	}
}

// older is a member of a release that adds no word to its state, and asks nobody.
type older struct{ meta atomic.Pointer[[]byte] }

func (o *older) NodeMeta(int) []byte               { return *o.meta.Load() }
func (o *older) NotifyMsg([]byte)                  {}
func (o *older) GetBroadcasts(int, int) [][]byte   { return nil }
func (o *older) LocalState(bool) []byte            { return nil }
func (o *older) MergeRemoteState(_ []byte, _ bool) {}

// TestOlderReleases: a member of an older release and one of this meet, and what the older says of itself is heard.
func TestOlderReleases(t *testing.T) {
	t.Parallel()
	node := startMember(t, Config{Keys: ringOf(t, key(1))})
	meta := announcing("127.0.0.1:443", 1).Meta
	agent := new(older)
	agent.meta.Store(new(metaOf(t, meta)))
	conf := memberlist.DefaultLANConfig()
	conf.Name, conf.BindAddr, conf.BindPort, conf.AdvertisePort = "older", "127.0.0.1", 0, 0
	conf.Keyring, conf.Delegate, conf.EnableCompression = ringOf(t, key(1)).ring, agent, false
	conf.LogOutput = new(bytes.Buffer)
	list, err := memberlist.Create(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = list.Shutdown() }) // the test has said what matters
	testkit.Eventually(t, "each knows the other", func() bool {
		_, err := list.Join([]string{node.Addr().String()})
		known := slices.ContainsFunc(list.Members(), func(one *memberlist.Node) bool { return one.Name == node.cfg.ID })
		return err == nil && known &&
			node.sees("older", func(m Member) bool { return m.Alive && m.Meta.Announced == meta.Announced })
	})
	meta.State = StateDraining
	agent.meta.Store(new(metaOf(t, meta)))
	if err := list.UpdateNode(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it drains", func() bool {
		return node.sees("older", func(m Member) bool { return m.Meta.State == StateDraining })
	})
	// Others claim to be at its address, and it believes them, as its release does.
	at := addrOf(list.LocalNode().Addr, list.LocalNode().Port)
	twin := says(t, "twin", at, announcing("127.0.0.1:443", 2).Meta, 1)
	v := &villain{key(1)}
	v.push(t, at, twin)
	testkit.Eventually(t, "it believes them", func() bool {
		return slices.ContainsFunc(list.Members(), func(one *memberlist.Node) bool { return one.Name == "twin" })
	})
	for range 20 {
		v.push(t, node.Addr(), twin)
		node.mu.Lock()
		id := node.roll.idAt(at)
		node.mu.Unlock()
		if id != "older" || !node.sees("older",
			func(m Member) bool { return m.Alive && m.Meta.State == StateDraining }) {
			t.Fatalf("%q is there: %+v", id, node.Members())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func FuzzParseAnswer(f *testing.F) {
	own := entryOf("own", "192.0.2.1:7946", memberlist.StateAlive)
	f.Add(answerOf(f, wordOf(word{"own", []byte{metaVersion, tagEnd}}), own))
	f.Add(answerOf(f, nil, own, entryOf("other", "[2001:db8::1]:7946", memberlist.StateSuspect)))
	f.Add(answerOf(f, []byte{wordVersion}))
	f.Add([]byte{gossipPushPull})
	f.Add([]byte{gossipError, 0x81, 0xa5})
	asked := netip.MustParseAddrPort("192.0.2.1:7946")
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := parseAnswer(b, asked, "own")
		if err != nil {
			return
		}
		if !validID(w.ID) || len(w.Meta) > maxMeta {
			t.Errorf("%q of %d bytes was taken", w.ID, len(w.Meta))
		}
		var m Meta
		_ = m.UnmarshalBinary(w.Meta) // it says no, and does not panic
	})
}

func FuzzParseWord(f *testing.F) {
	f.Add(wordOf(word{"0123456789abcdef", []byte{metaVersion, tagRole, 1, 1, tagState, 1, 1, tagEnd}}))
	f.Add([]byte{wordVersion, 200, 'a'})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, err := parseWord(b); err == nil && !bytes.Equal(wordOf(w), b) {
			t.Errorf("%x came back as %x", b, wordOf(w))
		}
	})
}

// FuzzOpenGossip: what a stranger sends in the place of an answer.
func FuzzOpenGossip(f *testing.F) {
	ring, err := NewKeyring([][]byte{key(1)})
	if err != nil {
		f.Fatal(err)
	}
	m := &Membership{cfg: Config{Keys: ring, Label: "l"}}
	sealed, err := m.sealState([]byte("a state"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:7])
	f.Add([]byte{gossipEncrypt, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := m.openState(bytes.NewReader(b)); err == nil && string(plain) != "a state" {
			t.Errorf("%q was opened", plain)
		}
	})
}
