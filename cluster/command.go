package cluster

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// command is what all nodes are told to do, by whoever has the node key: a *KeyCommand, a *DrainCommand,
// a *WeightCommand, an *IdleCommand or a *standingCommand. It travels sealed with that key, which agents do not have: they can neither give a command nor read the one they pass on.
type command interface {
	// judge says whom the command would cut off. It is asked at the node that the command was given to.
	judge(members []Member) error
	// apply does at this node what the command says.
	apply(m *Membership) error
}

// The sealed form is nonce (12 bytes), then AES-256-GCM, under a key derived from the node key, of: version, op, force
// (one byte each), time (8 bytes, seconds since 1970), and what belongs to the op: the key (KeyAdd), the print (KeyUse,
// KeyRemove), what is to be done and the backend's address (opDrain, opWeight, opIdle), what
// was ordered before (opStanding), or an answer (opAnswer).
const (
	commandVersion = 1
	commandHeader  = 3 + 8
	nonceBytes     = 12
	tagBytes       = 16
	maxSealed      = nonceBytes + commandHeader + max(KeyBytes, maxStanding) + tagBytes

	// These stand beside the values of KeyOp.
	opDrain    = 4
	opAnswer   = 5
	opWeight   = 6
	opIdle     = 7
	opStanding = 8

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

func commandCipher(nodeKey []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, nodeKey, nil, "homing key command", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func seal(nodeKey []byte, op byte, force bool, rest []byte, now time.Time) ([]byte, error) {
	aead, err := commandCipher(nodeKey)
	if err != nil {
		return nil, fmt.Errorf("cluster: seal: %w", err)
	}
	plain := []byte{commandVersion, op, 0}
	if force {
		plain[2] = 1
	}
	plain = binary.BigEndian.AppendUint64(plain, uint64(now.Unix()))
	plain = append(plain, rest...)
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // it never fails
	return aead.Seal(nonce, nonce, plain, nil), nil
}

// unseal opens what is sealed with one of the node keys.
func unseal(nodeKeys [][]byte, sealed []byte) ([]byte, error) {
	if len(sealed) < nonceBytes {
		return nil, ErrCommand
	}
	for _, nodeKey := range nodeKeys {
		aead, err := commandCipher(nodeKey)
		if err != nil {
			return nil, err
		}
		if plain, err := aead.Open(nil, sealed[:nonceBytes], sealed[nonceBytes:], nil); err == nil {
			return plain, nil
		}
	}
	return nil, ErrCommand
}

// openCommand reads a sealed command with one of the node keys, and gives its time.
func openCommand(nodeKeys [][]byte, sealed []byte) (command, time.Time, error) {
	if len(sealed) > maxSealed {
		return nil, time.Time{}, ErrCommand
	}
	plain, err := unseal(nodeKeys, sealed)
	if err != nil {
		return nil, time.Time{}, err
	}
	return parseCommand(plain)
}

func parseCommand(plain []byte) (command, time.Time, error) {
	if len(plain) < commandHeader {
		return nil, time.Time{}, errors.New("the command ends early")
	}
	if plain[0] != commandVersion {
		return nil, time.Time{}, fmt.Errorf("the command has version %d, this program reads %d", plain[0], commandVersion)
	}
	at := time.Unix(int64(binary.BigEndian.Uint64(plain[3:])), 0)
	op, force, rest := plain[1], plain[2] == 1, plain[commandHeader:]
	switch op {
	case opDrain:
		c, err := parseDrain(rest)
		if err == nil {
			c.at = at
		}
		return c, at, err
	case opStanding:
		c, err := parseStanding(rest)
		return c, at, err
	case opWeight:
		c, err := parseWeight(rest)
		return c, at, err
	case opIdle:
		c, err := parseIdle(rest)
		return c, at, err
	}
	c, err := parseKeyCommand(KeyOp(op), force, rest)
	return c, at, err
}

// replayGuard remembers nonces for as long as their commands' times are good. The zero value is ready.
type replayGuard struct {
	seen map[[nonceBytes]byte]time.Time // until when it must be remembered
}

// admit says why a command may not be applied at now, once.
func (g *replayGuard) admit(sealed []byte, at, now time.Time) error {
	if d := now.Sub(at); d > commandAge || d < -commandAge {
		return fmt.Errorf("the command is from %s, %s off the clock of this node: set the clocks, and repeat it",
			at.UTC().Format(time.RFC3339), d.Abs().Round(time.Second))
	}
	for nonce, until := range g.seen {
		if now.After(until) {
			delete(g.seen, nonce)
		}
	}
	nonce := [nonceBytes]byte(sealed)
	if _, again := g.seen[nonce]; again {
		return errors.New("the command was given before")
	}
	if len(g.seen) >= maxReplays {
		return errors.New("too many commands at once: wait two minutes")
	}
	if g.seen == nil {
		g.seen = make(map[[nonceBytes]byte]time.Time)
	}
	g.seen[nonce] = at.Add(2 * commandAge)
	return nil
}

// SetNodeKeys replaces the node keys: commands sealed with any are obeyed, answers are sealed with the first.
func (m *Membership) SetNodeKeys(keys [][]byte) { m.nodeKeys.Store(&keys) }

// Command applies a sealed command to this node, tells all others, and gives every node's answer, this one's first. It
// is refused when this node cannot follow it, and when members would be cut off by it, unless forced: a key may only be
// used once all have it, and removed once none uses it.
func (m *Membership) Command(ctx context.Context, sealed []byte) ([]Answer, error) {
	if err := m.applyPatiently(ctx, sealed); err != nil {
		return nil, err
	}
	return m.relay(ctx, sealed), nil
}

// Order gives a command on this node's own authority: it is sealed with the node key in use here.
func (m *Membership) Order(ctx context.Context, order Order) ([]Answer, error) {
	nodeKeys := *m.nodeKeys.Load()
	if len(nodeKeys) == 0 {
		return nil, ErrNoNodeKey
	}
	sealed, err := order.Seal(nodeKeys[0], time.Now())
	if err != nil {
		return nil, err
	}
	return m.Command(ctx, sealed)
}

// Order is a command before it is sealed.
type Order interface {
	Seal(nodeKey []byte, now time.Time) ([]byte, error)
}

// applyPatiently gives members a moment to tell that they follow the command before this one.
func (m *Membership) applyPatiently(ctx context.Context, sealed []byte) error {
	ticker := time.NewTicker(gossipEvery)
	defer ticker.Stop()
	for deadline := time.Now().Add(commandPatience); ; {
		_, err := m.apply(sealed, true)
		if cut := (*cutError)(nil); !errors.As(err, &cut) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

func (m *Membership) apply(sealed []byte, judge bool) (command, error) {
	m.applying.Lock()
	defer m.applying.Unlock()
	nodeKeys := *m.nodeKeys.Load()
	if len(nodeKeys) == 0 {
		return nil, ErrNoNodeKey
	}
	c, at, err := openCommand(nodeKeys, sealed)
	if err != nil {
		return nil, err
	}
	if judge {
		if err := c.judge(m.Members()); err != nil {
			return nil, err
		}
	}
	if err := m.replays.admit(sealed, at, time.Now()); err != nil {
		return nil, err
	}
	return c, c.apply(m)
}

// receiveCommand applies a command that another node has sent, and judged, and answers it.
func (m *Membership) receiveCommand(message []byte) {
	asker, sealed, ok := cutAsker(message)
	if !ok || len(*m.nodeKeys.Load()) == 0 {
		return // an agent: its keys are in its file
	}
	c, err := m.apply(sealed, false)
	if errors.Is(err, ErrCommand) { // nobody is answered who may not ask, and the name it gives counts for nothing
		m.quiet.Say(slog.LevelWarn, "command", "cluster: a command is refused", slog.String("from", sayable(asker)), slog.Any("error", err))
		return
	}
	if err != nil && !errors.Is(err, ErrBusy) {
		m.quiet.Say(slog.LevelWarn, "command of "+asker, "cluster: a command is refused", slog.String("from", asker), slog.Any("error", err))
	}
	m.answer(asker, sealed, err)
	m.answerOrders(c, asker)
}

// sayable is a word of a stranger's, fit for a line.
func sayable(s string) string {
	if !validID(s) {
		return "?"
	}
	return s
}
