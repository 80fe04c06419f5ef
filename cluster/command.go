package cluster

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A command is an order as it travels, sealed with the node key, which agents do not have: they can neither give a
// command nor read the one they pass on. The form is nonce (12 bytes), then AES-256-GCM, under a key derived from the
// node key, of: version, op, force (one byte each), time (8 bytes, seconds since 1970), and the body of the op
// (order.go), or an answer (answer.go).
const (
	commandVersion = 1
	commandHeader  = 3 + 8
	maxSealed      = nonceBytes + commandHeader + max(KeyBytes, maxStanding) + tagBytes

	// commandAge is by how much a command's time may differ from the clock here, in either direction. Nonces are
	// remembered for as long, so that no command works twice.
	commandAge = 2 * time.Minute
)

// ErrCommand refuses a command that nobody with the node key has given.
var ErrCommand = errors.New("the command is not sealed with this cluster's node key")

// ErrNoNodeKey refuses commands at a node that has no node key.
var ErrNoNodeKey = errors.New("this node has no node key")

// commandKey separates this use of the node key from all others (RFC 5869, 3.2).
func commandKey(nodeKey []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, nodeKey, nil, "homing key command", 32)
}

// Seal makes the order's form for Membership.Command.
func (o *Order) Seal(nodeKey []byte, now time.Time) ([]byte, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("cluster: seal: %w", err)
	}
	return seal(nodeKey, o.Op, o.Force, o.Op.kind().put(o), now)
}

func seal(nodeKey []byte, op Op, force bool, body []byte, now time.Time) ([]byte, error) {
	plain := []byte{commandVersion, byte(op), 0}
	if force {
		plain[2] = 1
	}
	plain = append(binary.BigEndian.AppendUint64(plain, uint64(now.Unix())), body...)
	key, err := commandKey(nodeKey)
	if err == nil {
		plain, err = appendSealed(nil, key, plain, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("cluster: seal: %w", err)
	}
	return plain, nil
}

// unseal opens what is sealed with one of the node keys.
func unseal(nodeKeys [][]byte, sealed []byte) ([]byte, error) {
	var keys [][]byte
	for _, nodeKey := range nodeKeys {
		key, err := commandKey(nodeKey)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	plain, err := openSealed(keys, sealed, nil)
	if plain == nil && err == nil {
		err = ErrCommand
	}
	return plain, err
}

// openCommand reads a sealed command with one of the node keys.
func openCommand(nodeKeys [][]byte, sealed []byte) (*Order, error) {
	if len(sealed) > maxSealed {
		return nil, ErrCommand
	}
	plain, err := unseal(nodeKeys, sealed)
	if err != nil {
		return nil, err
	}
	return parseCommand(plain)
}

func parseCommand(plain []byte) (*Order, error) {
	if len(plain) < commandHeader {
		return nil, errors.New("the command ends early")
	}
	if plain[0] != commandVersion {
		return nil, fmt.Errorf("the command has version %d, this program reads %d", plain[0], commandVersion)
	}
	o := &Order{Op: Op(plain[1]), Force: plain[2] == 1, at: time.Unix(int64(binary.BigEndian.Uint64(plain[3:])), 0)}
	k, body := o.Op.kind(), plain[commandHeader:]
	if k.get == nil {
		return nil, fmt.Errorf("the command %d with %d bytes is not known", o.Op, len(body))
	}
	if !k.get(o, body) {
		return nil, fmt.Errorf("the %s command of %d bytes cannot be read", k.word, len(body))
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("the %s command cannot be read: %w", k.word, err)
	}
	return o, nil
}
