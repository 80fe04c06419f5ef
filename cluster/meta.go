package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Role says what a member of the cluster is.
type Role uint8

const (
	// RoleNode is a homing process that balances conns.
	RoleNode Role = 1
	// RoleAgent is a process that announces one backend.
	RoleAgent Role = 2
)

func (r Role) String() string { return named(r, "invalid", "node", "agent") }

// named is the word for a value that is counted from 1; the first one is for all others.
func named[T ~uint8](value T, words ...string) string {
	if int(value) < len(words) {
		return words[value]
	}
	return words[0]
}

// State is what a member says of itself.
type State uint8

const (
	// StateServing is a node that takes conns, or an agent whose backend does.
	StateServing State = 1
	// StateDraining is a node that takes no new conns, or an agent whose backend shall get no fresh handshakes.
	StateDraining State = 2
	// StateDown is an agent whose backend does not answer.
	StateDown State = 3
	// StateLeaving is a member that is about to leave on purpose. It is told apart from a crash by this, because
	// memberlist reports both the same way.
	StateLeaving State = 4
)

func (s State) String() string {
	return named(s, "invalid", "serving", "draining", "down", "leaving")
}

// Announcement is what an agent says of its backend.
type Announcement struct {
	// Pool is the name of the pool that the backend serves, 1 to 64 bytes.
	Pool string

	// Backend is where nodes connect to.
	Backend netip.AddrPort

	// Weight is 1 to 1000.
	Weight uint16

	// Started orders the announcements of one backend by agents that follow one another, in nanoseconds since 1970 by
	// the agent's clock: the latest counts.
	Started int64
}

// Meta is what every member tells of itself with its membership: at most 512 bytes on the wire.
type Meta struct {
	Role        Role
	State       State
	Name        string         // for people, at most 64 bytes: of the machine, or its operator's; "" from older releases
	Version     string         // of the program, at most 64 bytes
	Replication netip.AddrPort // nodes: where peers get what this node learns; invalid: nowhere
	Keys        []KeyPrint     // the gossip keys it trusts, the one it encrypts with first; at most MaxKeys
	Standing    bool           // nodes: it takes what was ordered before it joined (standing.go)
	Announced   Announcement   // agents

	// Refusal is a node's word to the agent that it asks alone: why it does not take what that announces, "" if it
	// does. It is at most maxRefusal bytes, and in no gossip.
	Refusal string
}

// The wire form is the version, then fields of tag, length (one byte) and value, then tagEnd. A field that is not known
// is passed over, so that members of different releases understand each other; a change that old members must not
// misread gets another version.
const (
	metaVersion = 1
	maxMeta     = 512 // memberlist.MetaMaxSize

	tagEnd         = 0
	tagRole        = 1
	tagState       = 2
	tagSoftware    = 3
	tagReplication = 4 // netip.AddrPort.MarshalBinary
	tagKeys        = 5 // MaxKeys * 8 bytes at most
	tagPool        = 6
	tagBackend     = 7 // netip.AddrPort.MarshalBinary
	tagWeight      = 8 // 2 bytes, big-endian
	tagStarted     = 9 // 8 bytes, big-endian
	tagName        = 10
	tagRefusal     = 11
	tagStanding    = 12 // nothing: that it is there says it

	maxSoftware = 64
	maxName     = 64
	maxRefusal  = 200
	maxPool     = 64
	maxWeight   = 1000
)

var (
	// ErrMetaVersion is metadata of another version than this program reads.
	ErrMetaVersion = errors.New("cluster: metadata of another version")

	errMetaShort = errors.New("cluster: metadata ends early")
)

// metaField is one field: where its value is, and whether it is written.
type metaField struct {
	tag   byte
	value any // pointer
	there bool
}

// fields is all that are known, in the order in which they are written.
func (m *Meta) fields() []metaField {
	agent := m.Role == RoleAgent
	return []metaField{
		{tagRole, &m.Role, true},
		{tagState, &m.State, true},
		{tagSoftware, &m.Version, true},
		{tagName, &m.Name, m.Name != ""},
		{tagRefusal, &m.Refusal, m.Refusal != ""},
		{tagStanding, &m.Standing, m.Standing},
		{tagReplication, &m.Replication, m.Replication.IsValid()},
		{tagKeys, &m.Keys, len(m.Keys) > 0},
		{tagPool, &m.Announced.Pool, agent},
		{tagBackend, &m.Announced.Backend, agent},
		{tagWeight, &m.Announced.Weight, agent},
		{tagStarted, &m.Announced.Started, agent},
	}
}

// AppendBinary adds the wire form to b. An error says which field does not fit.
func (m *Meta) AppendBinary(b []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	b = append(b, metaVersion)
	for _, f := range m.fields() {
		if f.there {
			b = append(b, f.tag, 0)
			start := len(b)
			b = f.append(b)
			b[start-1] = byte(len(b) - start)
		}
	}
	return append(b, tagEnd), nil
}

func (f *metaField) append(b []byte) []byte {
	switch v := f.value.(type) {
	case *string:
		return append(b, *v...)
	case *bool: // that it is there says it
		return b
	case *netip.AddrPort:
		addr, _ := v.MarshalBinary() // it knows no error
		return append(b, addr...)
	case *[]KeyPrint:
		for _, print := range *v {
			b = append(b, print[:]...)
		}
		return b
	}
	b, _ = binary.Append(b, binary.BigEndian, f.value) // a number, whose size is fixed
	return b
}

// UnmarshalBinary reads the wire form. Nothing of m is kept.
func (m *Meta) UnmarshalBinary(b []byte) error {
	*m = Meta{}
	if len(b) == 0 {
		return errMetaShort
	}
	if len(b) > maxMeta {
		return fmt.Errorf("cluster: metadata of %d bytes, at most %d are read", len(b), maxMeta)
	}
	if b[0] != metaVersion {
		return fmt.Errorf("%w: %d, this program reads %d", ErrMetaVersion, b[0], metaVersion)
	}
	var seen [256]bool
	fields := m.fields()
	for b = b[1:]; ; {
		if len(b) == 0 {
			return errMetaShort
		}
		tag := b[0]
		if tag == tagEnd {
			if len(b) > 1 {
				return fmt.Errorf("cluster: %d bytes behind the end of the metadata", len(b)-1)
			}
			return m.check()
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return errMetaShort
		}
		value := b[2 : 2+int(b[1])]
		b = b[2+len(value):]
		if seen[tag] {
			return fmt.Errorf("cluster: metadata with field %d twice", tag)
		}
		seen[tag] = true
		i := slices.IndexFunc(fields, func(f metaField) bool { return f.tag == tag })
		if i < 0 {
			continue // of a later release
		}
		if err := fields[i].set(value); err != nil {
			return fmt.Errorf("cluster: field %d of the metadata: %w", tag, err)
		}
	}
}

// set reads one field. Whether the value makes sense is check's to say.
func (f *metaField) set(b []byte) error {
	switch v := f.value.(type) {
	case *string:
		*v = string(b)
		return nil
	case *bool:
		*v = true
		return nil
	case *netip.AddrPort:
		return v.UnmarshalBinary(b)
	case *[]KeyPrint:
		if len(b)%len(KeyPrint{}) != 0 {
			return fmt.Errorf("%d bytes are no whole number of key prints", len(b))
		}
		for print := range slices.Chunk(b, len(KeyPrint{})) {
			*v = append(*v, KeyPrint(print))
		}
		return nil
	}
	if n := binary.Size(f.value); n != len(b) {
		return fmt.Errorf("%d bytes, not %d", len(b), n)
	}
	_, err := binary.Decode(b, binary.BigEndian, f.value)
	return err
}

// check is the only place that judges values, of this program and of others.
func (m *Meta) check() error {
	switch {
	case m.Role != RoleNode && m.Role != RoleAgent:
		return fmt.Errorf("cluster: role %d is not known", m.Role)
	case m.State < StateServing || m.State > StateLeaving:
		return fmt.Errorf("cluster: state %d is not known", m.State)
	case len(m.Version) > maxSoftware || !printable(m.Version):
		return fmt.Errorf("cluster: version %.80q is not %d printable bytes at most", m.Version, maxSoftware)
	case len(m.Name) > maxName || !printable(m.Name):
		return fmt.Errorf("cluster: name %.80q is not %d printable bytes at most", m.Name, maxName)
	case len(m.Refusal) > maxRefusal || !printable(m.Refusal) || m.Refusal != "" && m.Role != RoleNode:
		return fmt.Errorf("cluster: refusal %.80q is not %d printable bytes of a node at most", m.Refusal, maxRefusal)
	case len(m.Keys) > MaxKeys:
		return fmt.Errorf("cluster: %d keys, at most %d", len(m.Keys), MaxKeys)
	case m.Replication.Addr().Zone() != "" || m.Announced.Backend.Addr().Zone() != "":
		return errors.New("cluster: an address with a zone means nothing to others")
	case m.Role == RoleNode && m.Announced != Announcement{}:
		return errors.New("cluster: a node announces no backend")
	case m.Role == RoleNode:
		return nil
	}
	a := &m.Announced
	switch {
	case a.Pool == "" || len(a.Pool) > maxPool || !printable(a.Pool):
		return fmt.Errorf("cluster: pool name %.80q is not 1 to %d printable bytes", a.Pool, maxPool)
	case !a.Backend.IsValid() || a.Backend.Port() == 0 || a.Backend.Addr().IsUnspecified() ||
		a.Backend.Addr().IsMulticast():
		return fmt.Errorf("cluster: %s is no address of a backend", a.Backend)
	case a.Backend.Addr().Is4In6():
		return fmt.Errorf("cluster: %s is an IPv4 address in another form", a.Backend)
	case a.Weight < 1 || a.Weight > maxWeight:
		return fmt.Errorf("cluster: weight %d is not from 1 to %d", a.Weight, maxWeight)
	}
	return nil
}

// printable says that s can stand in a log line and a metric: ASCII without controls.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
