package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"homing/balancer/pool"
	"homing/cluster/bound"
)

// Op is what an order does at every node.
type Op uint8

const (
	// OpKeyAdd trusts a gossip key.
	OpKeyAdd Op = 1
	// OpKeyUse encrypts with a gossip key that is trusted.
	OpKeyUse Op = 2
	// OpKeyRemove trusts a gossip key no more.
	OpKeyRemove Op = 3
	// OpDrain empties a backend, or ends that. Nodes that are there follow it, and give it to nodes that join, or start
	// again, later (standing.go).
	OpDrain Op = 4
	// OpWeight gives a backend another weight, for nodes choose alike only while they agree on it. It is not kept for
	// nodes that come later, whose configuration has the last word.
	OpWeight Op = 6
	// OpIdle asks whether a backend is drained: a node where it is not follows the order no further than to say so, by
	// an ErrBusy.
	OpIdle Op = 7

	opAnswer   Op = 5 // no order, but sealed as they are: answer.go
	opStanding Op = 8 // nodes tell one another: standing.go
)

// kind is what tells the orders of one Op from others.
type kind struct {
	word string
	put  func(*Order) []byte           // the body of its form
	get  func(o *Order, b []byte) bool // reads what put wrote; false: it cannot
}

// kind is the table of them. A kind that is not known to this release has no get.
func (op Op) kind() kind {
	ofPrint := func(word string) kind {
		return kind{
			word: word,
			put:  func(o *Order) []byte { return o.Print[:] },
			get:  func(o *Order, b []byte) bool { return len(b) == copy(o.Print[:], b) && len(b) == len(o.Print) },
		}
	}
	switch op {
	case OpKeyAdd:
		return kind{
			word: "add",
			put:  func(o *Order) []byte { return o.Key },
			get:  func(o *Order, b []byte) bool { o.Key, o.Print = b, PrintOf(b); return len(b) == KeyBytes },
		}
	case OpKeyUse:
		return ofPrint("use")
	case OpKeyRemove:
		return ofPrint("remove")
	case OpDrain: // mode (1 byte), seconds (4)
		return aboutBackend(1+4, kind{
			word: "drain",
			put: func(o *Order) []byte {
				seconds := (o.Plan.For + time.Second - 1) / time.Second // 0 would be for ever
				return binary.BigEndian.AppendUint32([]byte{byte(o.Plan.Mode)}, uint32(seconds))
			},
			get: func(o *Order, b []byte) bool {
				o.Plan = pool.DrainPlan{
					Mode: pool.Drain(b[0]),
					For:  time.Duration(binary.BigEndian.Uint32(b[1:])) * time.Second,
				}
				return true
			},
		})
	case OpWeight: // weight (2)
		return aboutBackend(2, kind{
			word: "weight",
			put:  func(o *Order) []byte { return binary.BigEndian.AppendUint16(nil, uint16(o.Weight)) },
			get:  func(o *Order, b []byte) bool { o.Weight = int(binary.BigEndian.Uint16(b)); return true },
		})
	case OpIdle:
		return aboutBackend(0, kind{
			word: "idle",
			put:  func(*Order) []byte { return nil },
			get:  func(*Order, []byte) bool { return true },
		})
	case opStanding:
		return kind{word: "standing", put: (*Order).putStanding, get: (*Order).getStanding}
	case opAnswer:
	}
	return kind{word: "invalid"}
}

// aboutBackend puts the pool (4 bytes) and the address (6 or 18) of a backend behind the first bytes of a body.
func aboutBackend(first int, k kind) kind {
	put, get := k.put, k.get
	k.put = func(o *Order) []byte {
		addr, _ := bound.Plain(o.Backend).MarshalBinary() // it knows no error
		return append(binary.BigEndian.AppendUint32(put(o), o.Pool), addr...)
	}
	k.get = func(o *Order, b []byte) (ok bool) {
		if len(b) < first+4 {
			return false
		}
		o.Pool = binary.BigEndian.Uint32(b[first:])
		o.Backend, ok = parseAddress(b[first+4:])
		return ok && get(o, b[:first])
	}
	return k
}

// parseAddress reads an IP address, of 4 bytes or 16, and a port.
func parseAddress(b []byte) (addr netip.AddrPort, ok bool) {
	if len(b) != 4+2 && len(b) != 16+2 {
		return addr, false
	}
	err := addr.UnmarshalBinary(b)
	return bound.Plain(addr), err == nil
}

func (op Op) String() string { return op.kind().word }

// Order is what all nodes are told to do.
type Order struct {
	Op    Op
	Force bool // OpKeyUse, OpKeyRemove: although members would be cut off

	Key   []byte   // OpKeyAdd
	Print KeyPrint // OpKeyUse, OpKeyRemove

	// OpDrain, OpWeight, OpIdle: the hash of the pool whose backend it is, 0 for all that have one of the address.
	Pool    uint32
	Backend netip.AddrPort

	// Plan of OpDrain is what pool.Drain does at each node. Its time begins when the node gets to know it, and travels
	// in whole seconds.
	Plan pool.DrainPlan

	Weight int // OpWeight: as pool.SetWeight has it

	at       time.Time       // when it was given, once it is opened
	asks     bool            // opStanding: for what the other knows, too
	standing []standingOrder // opStanding
}

// ErrBusy says that a backend is not drained yet.
var ErrBusy = errors.New("not drained")

// check says what no order may be.
func (o *Order) check() error {
	switch {
	case o.Plan.For < 0 || o.Plan.For > pool.MaxDrain:
		return fmt.Errorf("a drain of %s: give a time up to %s, or none", o.Plan.For, pool.MaxDrain)
	case o.Plan.Mode > pool.DrainHard:
		return fmt.Errorf("a drain of mode %d", o.Plan.Mode)
	case o.Weight < 0 || o.Weight > pool.MaxWeight:
		return fmt.Errorf("weight %d is not from 0 to %d", o.Weight, pool.MaxWeight)
	}
	return nil
}

// judge says whom an order would cut off. It is asked at the node that the order was given to.
func (o *Order) judge(members []Member) error {
	if o.Op == opStanding {
		return errors.New("orders of before are for the node that joins") // nobody gives them to be passed on
	}
	if o.Force || o.Op != OpKeyUse && o.Op != OpKeyRemove {
		return nil
	}
	var cut []string
	for i := range members {
		one := &members[i]
		if !one.Alive && one.Meta.Role == RoleAgent {
			continue // it is gone; should it come back it needs the new key anyway
		}
		lacks := o.Op == OpKeyUse && !slices.Contains(one.Meta.Keys, o.Print)
		uses := o.Op == OpKeyRemove && len(one.Meta.Keys) > 0 && one.Meta.Keys[0] == o.Print
		if !one.Alive || lacks || uses {
			cut = append(cut, one.Meta.Role.String()+" "+one.ID)
		}
	}
	if len(cut) == 0 {
		return nil
	}
	return &cutError{o, cut}
}

// cutError says whom an order would cut off.
type cutError struct {
	order   *Order
	members []string
}

func (e *cutError) Error() string {
	lack := "do not have key %s yet"
	if e.order.Op == OpKeyRemove {
		lack = "still use key %s"
	}
	shown := strings.Join(e.members[:min(len(e.members), 5)], ", ")
	return fmt.Sprintf("%d members are missing or "+lack+" (%s): bring them up to date, or force it", len(e.members),
		e.order.Print, shown)
}

const (
	// maxBatch bounds the standing orders of one command.
	maxBatch = 32

	// standingBytes is one but for the address and its length: mode (1 byte), pool (4), when it was given and when its
	// own resumptions end (8 each, seconds since 1970; 0: never).
	standingBytes = 1 + 4 + 8 + 8

	maxStanding = 1 + maxBatch*(standingBytes+1+16+2)
)

// standingOrder is the last drain, or end of one, that was ordered of a target.
type standingOrder struct {
	Pool    uint32         `json:"pool"`
	Backend netip.AddrPort `json:"backend"`
	Mode    pool.Drain     `json:"mode"`
	At      time.Time      `json:"at"`            // when it was given
	End     time.Time      `json:"end,omitzero"`  // when its own resumptions end; zero: never
	Done    bool           `json:"done,omitzero"` // it has been followed here
}

// putStanding is the body of an order that gives a node what was ordered before: whether it asks for what that one
// knows (1 byte), then the orders.
func (o *Order) putStanding() []byte {
	b := []byte{0}
	if o.asks {
		b[0] = 1
	}
	for i := range o.standing {
		one := &o.standing[i]
		var end int64
		if !one.End.IsZero() {
			end = one.End.Unix()
		}
		addr, _ := one.Backend.MarshalBinary() // it knows no error
		b = binary.BigEndian.AppendUint32(append(b, byte(one.Mode)), one.Pool)
		b = binary.BigEndian.AppendUint64(b, uint64(one.At.Unix()))
		b = binary.BigEndian.AppendUint64(b, uint64(end))
		b = append(append(b, byte(len(addr))), addr...)
	}
	return b
}

func (o *Order) getStanding(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	o.asks = b[0] == 1
	for b = b[1:]; len(b) > 0; {
		if len(b) < standingBytes+1 || len(b) < standingBytes+1+int(b[standingBytes]) || len(o.standing) >= maxBatch {
			return false
		}
		one := standingOrder{
			Mode: pool.Drain(b[0]), Pool: binary.BigEndian.Uint32(b[1:]),
			At: time.Unix(int64(binary.BigEndian.Uint64(b[5:])), 0),
		}
		if end := int64(binary.BigEndian.Uint64(b[13:])); end != 0 {
			one.End = time.Unix(end, 0)
		}
		n := standingBytes + 1 + int(b[standingBytes])
		var ok bool
		if one.Backend, ok = parseAddress(b[standingBytes+1 : n]); !ok || one.Mode > pool.DrainHard {
			return false
		}
		o.standing = append(o.standing, one)
		b = b[n:]
	}
	return true
}

// Answer is what one node made of a command.
type Answer struct {
	Node  string `json:"node"`
	Error string `json:"error,omitempty"` // why it does not follow, or did not answer
}
