package cluster

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"homing/cluster/internal/bound"
)

// A command is an order as it travels, sealed with the node key, which agents do not have: they can neither give a command nor
// read the one they pass on. The form is nonce (12 bytes), then AES-256-GCM, under a key derived from the node key, of: version,
// op, force (one byte each), time (8 bytes, seconds since 1970), and the body of the op (order.go), or an answer (answer.go).
const (
	commandVersion = 1
	commandHeader  = 3 + 8
	maxSealed      = nonceBytes + commandHeader + max(KeyBytes, maxStanding) + tagBytes

	// commandAge is by how much a command's time may differ from the clock here, in either direction. Nonces are
	// remembered for as long, so that no command works twice.
	commandAge = 2 * time.Minute

	// commandPatience is how long a command waits for members to be ready for it: news of theirs may be on the way.
	commandPatience = 3 * time.Second

	// maxReplays bounds the nonces; a node in which so many commands came in within commandAge takes no more for now.
	maxReplays = 1024
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

// replays remembers nonces for as long as their commands' times are good.
type replays = bound.Recent[[nonceBytes]byte]

// admit says why a command may not be applied at now, once.
func admit(seen *replays, sealed []byte, at, now time.Time) error {
	if d := now.Sub(at); d > commandAge || d < -commandAge {
		return fmt.Errorf("the command is from %s, %s off the clock of this node: set the clocks, and repeat it",
			at.UTC().Format(time.RFC3339), d.Abs().Round(time.Second))
	}
	nonce := [nonceBytes]byte(sealed)
	if seen.Has(nonce, now) {
		return errors.New("the command was given before")
	}
	if !seen.Note(nonce, at.Add(2*commandAge), now) {
		return errors.New("too many commands at once: wait two minutes")
	}
	return nil
}

// SetNodeKeys replaces the node keys: commands sealed with any are obeyed, answers are sealed with the first.
func (m *Membership) SetNodeKeys(keys [][]byte) { m.nodeKeys.Store(&keys) }

// Command applies a sealed command to this node, tells all others, and gives every node's answer, this one's first. It
// is refused when this node cannot follow it, and when members would be cut off by it, unless forced: a key may only be
// used once all have it, and removed once none uses it. Members have a moment to tell that they follow the one before.
func (m *Membership) Command(ctx context.Context, sealed []byte) ([]Answer, error) {
	ticker := time.NewTicker(gossipEvery)
	defer ticker.Stop()
	for deadline := time.Now().Add(commandPatience); ; {
		_, err := m.apply(sealed, true)
		if err == nil {
			return m.relay(ctx, sealed), nil
		}
		if _, cut := errors.AsType[*cutError](err); !cut || time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
}

// Order gives a command on this node's own authority: it is sealed with the node key in use here.
func (m *Membership) Order(ctx context.Context, o Order) ([]Answer, error) {
	nodeKeys := *m.nodeKeys.Load()
	if len(nodeKeys) == 0 {
		return nil, ErrNoNodeKey
	}
	sealed, err := o.Seal(nodeKeys[0], time.Now())
	if err != nil {
		return nil, err
	}
	return m.Command(ctx, sealed)
}

func (m *Membership) apply(sealed []byte, judge bool) (*Order, error) {
	m.applying.Lock()
	defer m.applying.Unlock()
	nodeKeys := *m.nodeKeys.Load()
	if len(nodeKeys) == 0 {
		return nil, ErrNoNodeKey
	}
	o, err := openCommand(nodeKeys, sealed)
	if err != nil {
		return nil, err
	}
	if judge {
		if err := o.judge(m.Members()); err != nil {
			return nil, err
		}
	}
	if err := admit(&m.replays, sealed, o.at, time.Now()); err != nil {
		return nil, err
	}
	return o, m.follow(o)
}

// receiveCommand applies a command that another node has sent, and judged, and answers it.
func (m *Membership) receiveCommand(message []byte) {
	asker, sealed, ok := cutAsker(message)
	if !ok || len(*m.nodeKeys.Load()) == 0 {
		return // an agent: its keys are in its file
	}
	o, err := m.apply(sealed, false)
	if errors.Is(err, ErrCommand) { // nobody is answered who may not ask, and the name it gives counts for nothing
		if !validID(asker) {
			asker = "?"
		}
		m.quiet.Say(slog.LevelWarn, "command", "cluster: a command is refused", slog.String("from", asker), slog.Any("error", err))
		return
	}
	if err != nil && !errors.Is(err, ErrBusy) {
		m.quiet.Say(slog.LevelWarn, "command of "+asker, "cluster: a command is refused", slog.String("from", asker), slog.Any("error", err))
	}
	m.answer(asker, sealed, err)
	if o != nil && o.asks {
		m.answerStanding(asker)
	}
}
