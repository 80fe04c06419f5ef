package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"

	"homing/cluster/bound"
)

// Whoever has the gossip key may say anything of anybody: memberlist believes each message that it can decrypt. So
// gossip is hearsay here, and what a member says of itself is heard from itself: this member connects to the address
// that is said to be the other's, and asks by memberlist's own exchange of all state, which every release answers. Who
// is not at that address cannot answer. Of the answer only what it says of itself counts: a word in the user state,
// which members of this release add, or else the one entry of the address.
//
//	asker                                            asked
//	  TCP, the label in clear if there is one
//	  push/pull: no member, the asker's word  ──►      who waits for having been asked knows of it (Leave)
//	                                          ◄──    push/pull: its members, its word
//
// An older release gets and gives the same without words. Others may have told it of members at its own address: it is
// known by its ID then, and by nothing if it has not answered before.
const (
	// maxAnswerState bounds an answer, in bytes: 16,000 members of an older release.
	maxAnswerState = 4 << 20

	wordVersion = 1

	// The first bytes of memberlist's messages, in its numbers.
	gossipPushPull = 6
	gossipEncrypt  = 10
	gossipError    = 13

	// gossipCipher is memberlist's version of encryption: AES-GCM without padding.
	gossipCipher = 1
)

var (
	errWord      = errors.New("the word cannot be read")
	errNotThere  = errors.New("another member answers there")
	errAmbiguous = errors.New("several members are said to be there, and its release does not say which one it is: " +
		"update it")
)

// word is what a member says of itself: its ID and its metadata, as they travel.
type word struct {
	ID   string
	Meta []byte
}

// wire is the form that travels: a version, the ID behind its length, then the metadata.
func (w *word) wire() []byte {
	b := append([]byte{wordVersion, byte(len(w.ID))}, w.ID...)
	return append(b, w.Meta...)
}

func parseWord(b []byte) (word, error) {
	if len(b) < 1 || b[0] != wordVersion {
		return word{}, errWord
	}
	id, meta, ok := cutAsker(b[1:])
	if !ok || !validID(id) || len(meta) > maxMeta {
		return word{}, errWord
	}
	return word{id, meta}, nil
}

func validID(id string) bool { return id != "" && len(id) <= bound.MaxID && printable(id) }

// exchangeHeader and exchangeEntry are memberlist's pushPullHeader and pushNodeState; names are part of the wire form.
type (
	exchangeHeader struct {
		Nodes        int
		UserStateLen int
		Join         bool
	}
	exchangeEntry struct {
		Name        string
		Addr        []byte
		Port        uint16
		Meta        []byte
		Incarnation uint32
		State       memberlist.NodeStateType
		Vsn         []uint8
	}
)

// appendQuestion is the exchange that the asker begins: it tells of no member, and who asks.
func appendQuestion(own word) ([]byte, error) {
	user := own.wire()
	b := bytes.NewBuffer([]byte{gossipPushPull})
	if err := codec.NewEncoder(b, &codec.MsgpackHandle{}).Encode(exchangeHeader{UserStateLen: len(user)}); err != nil {
		return nil, err
	}
	return append(b.Bytes(), user...), nil
}

// parseAnswer finds the asked member's word in its answer. known is the ID of the member that answered there before, if
// any.
func parseAnswer(plain []byte, asked netip.AddrPort, known string) (word, error) {
	if len(plain) == 0 || plain[0] != gossipPushPull {
		return word{}, errors.New("the answer is none")
	}
	dec := codec.NewDecoderBytes(plain[1:], &codec.MsgpackHandle{}) // it takes no more room than there are bytes
	var header exchangeHeader
	if err := dec.Decode(&header); err != nil {
		return word{}, fmt.Errorf("the answer cannot be read: %w", err)
	}
	if n := header.UserStateLen; n > 0 && n < len(plain) {
		if w, err := parseWord(plain[len(plain)-n:]); err == nil {
			return w, nil
		} // of a later release: its entry will do
	}
	var found []word
	for range header.Nodes {
		var one exchangeEntry
		if err := dec.Decode(&one); err != nil {
			return word{}, fmt.Errorf("the answer cannot be read: %w", err)
		}
		living := one.State == memberlist.StateAlive || one.State == memberlist.StateSuspect
		if living && addrOf(one.Addr, one.Port) == asked && validID(one.Name) && len(one.Meta) <= maxMeta {
			found = append(found, word{one.Name, one.Meta})
		}
	}
	i := slices.IndexFunc(found, func(w word) bool { return w.ID == known })
	switch {
	case len(found) == 0:
		return word{}, errNotThere
	case len(found) == 1:
		return found[0], nil
	case i < 0:
		return word{}, errAmbiguous
	}
	return found[i], nil
}

// openGossip decrypts what memberlist has encrypted with one of the keys.
func openGossip(keys [][]byte, sealed, data []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != gossipCipher {
		return nil, errors.New("the encryption is of another version")
	}
	plain, err := openSealed(keys, sealed[1:], data)
	if plain == nil && err == nil {
		err = errors.New("no key of ours opens the answer")
	}
	return plain, err
}
