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
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// KeyOp is what a key command does to every node's ring.
type KeyOp uint8

const (
	// KeyAdd trusts a key.
	KeyAdd KeyOp = 1
	// KeyUse encrypts with a key that is trusted.
	KeyUse KeyOp = 2
	// KeyRemove trusts a key no more.
	KeyRemove KeyOp = 3
)

func (op KeyOp) String() string {
	switch op {
	case KeyAdd:
		return "add"
	case KeyUse:
		return "use"
	case KeyRemove:
		return "remove"
	}
	return "invalid"
}

// KeyCommand changes the gossip keys of all nodes. It travels sealed with the node key, which agents do not have: they
// can neither give such a command nor read the key in it.
type KeyCommand struct {
	Op    KeyOp
	Force bool     // although members would be cut off
	Key   []byte   // KeyAdd
	Print KeyPrint // KeyUse, KeyRemove
}

// The sealed form is nonce (12 bytes), then AES-256-GCM, under a key derived from the node key, of: version, op, force
// (one byte each), time (8 bytes, seconds since 1970), key (KeyAdd) or print.
const (
	commandVersion = 1
	commandHeader  = 3 + 8
	nonceBytes     = 12
	tagBytes       = 16
	maxSealed      = nonceBytes + commandHeader + KeyBytes + tagBytes

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

// Seal makes the command's form for KeyCommand and for others.
func (c *KeyCommand) Seal(nodeKey []byte, now time.Time) ([]byte, error) {
	aead, err := commandCipher(nodeKey)
	if err != nil {
		return nil, fmt.Errorf("cluster: seal: %w", err)
	}
	force := byte(0)
	if c.Force {
		force = 1
	}
	plain := []byte{commandVersion, byte(c.Op), force}
	plain = binary.BigEndian.AppendUint64(plain, uint64(now.Unix()))
	if c.Op == KeyAdd {
		plain = append(plain, c.Key...)
	} else {
		plain = append(plain, c.Print[:]...)
	}
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // it never fails
	return aead.Seal(nonce, nonce, plain, nil), nil
}

// openCommand reads a sealed command with one of the node keys, and gives its time.
func openCommand(nodeKeys [][]byte, sealed []byte) (*KeyCommand, time.Time, error) {
	if len(sealed) < nonceBytes || len(sealed) > maxSealed {
		return nil, time.Time{}, ErrCommand
	}
	for _, nodeKey := range nodeKeys {
		aead, err := commandCipher(nodeKey)
		if err != nil {
			return nil, time.Time{}, err
		}
		plain, err := aead.Open(nil, sealed[:nonceBytes], sealed[nonceBytes:], nil)
		if err == nil {
			return parseCommand(plain)
		}
	}
	return nil, time.Time{}, ErrCommand
}

func parseCommand(plain []byte) (*KeyCommand, time.Time, error) {
	if len(plain) < commandHeader {
		return nil, time.Time{}, errors.New("the command ends early")
	}
	if plain[0] != commandVersion {
		return nil, time.Time{}, fmt.Errorf("the command has version %d, this program reads %d", plain[0], commandVersion)
	}
	c := &KeyCommand{Op: KeyOp(plain[1]), Force: plain[2] == 1}
	at := time.Unix(int64(binary.BigEndian.Uint64(plain[3:])), 0)
	rest := plain[commandHeader:]
	switch {
	case c.Op == KeyAdd && len(rest) == KeyBytes:
		c.Key = rest
		c.Print = PrintOf(rest)
	case (c.Op == KeyUse || c.Op == KeyRemove) && len(rest) == len(c.Print):
		c.Print = KeyPrint(rest)
	default:
		return nil, time.Time{}, fmt.Errorf("the command %d with %d bytes is not known", c.Op, len(rest))
	}
	return c, at, nil
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

// CommandResult is what became of a key command.
type CommandResult struct {
	Applied int      `json:"applied"` // nodes that were reached, this one included
	Missed  []string `json:"missed"`  // nodes that were not
}

// Command applies a sealed key command to this node, and sends it to all others. It is refused when members would be
// cut off by it, unless forced: a key may only be used once all have it, and removed once none uses it.
func (m *Membership) Command(ctx context.Context, sealed []byte) (CommandResult, error) {
	command, err := m.applyPatiently(ctx, sealed)
	if err != nil {
		return CommandResult{}, err
	}
	return m.relay(ctx, sealed, command), nil
}

// applyPatiently gives members a moment to tell that they follow the command before this one.
func (m *Membership) applyPatiently(ctx context.Context, sealed []byte) (*KeyCommand, error) {
	ticker := time.NewTicker(gossipEvery)
	defer ticker.Stop()
	for deadline := time.Now().Add(commandPatience); ; {
		command, err := m.apply(sealed, true)
		if cut := (*cutError)(nil); !errors.As(err, &cut) || time.Now().After(deadline) {
			return command, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
}

// receiveCommand applies a command that another node has sent, and judged.
func (m *Membership) receiveCommand(sealed []byte) {
	if len(m.cfg.NodeKeys) == 0 {
		return // an agent: its keys are in its file
	}
	if _, err := m.apply(sealed, false); err != nil {
		m.log.Warn("cluster: a key command is refused", slog.Any("error", err))
	}
}

func (m *Membership) apply(sealed []byte, judge bool) (*KeyCommand, error) {
	m.applying.Lock()
	defer m.applying.Unlock()
	switch {
	case m.cfg.Keys == nil:
		return nil, errors.New("this node gossips without a key")
	case len(m.cfg.NodeKeys) == 0:
		return nil, errors.New("this node has no node key")
	}
	command, at, err := openCommand(m.cfg.NodeKeys, sealed)
	if err != nil {
		return nil, err
	}
	if judge && !command.Force {
		if err := judgeCommand(command, m.Members()); err != nil {
			return nil, err
		}
	}
	if err := m.replays.admit(sealed, at, time.Now()); err != nil {
		return nil, err
	}
	switch command.Op {
	case KeyAdd:
		err = m.cfg.Keys.Add(command.Key)
	case KeyUse:
		err = m.cfg.Keys.Use(command.Print)
	case KeyRemove:
		err = m.cfg.Keys.Remove(command.Print)
	}
	if err != nil {
		return nil, err
	}
	m.log.Info("cluster: key "+command.Op.String(), slog.String("key", command.Print.String()), slog.Int("keys", len(m.cfg.Keys.Prints())))
	m.cfg.KeysChanged(m.cfg.Keys.Keys())
	return command, m.Update(func(*Meta) {}) // the prints are new
}

// judgeCommand says whom a command would cut off.
func judgeCommand(c *KeyCommand, members []Member) error {
	var cut []string
	for i := range members {
		one := &members[i]
		if !one.Alive && one.Meta.Role == RoleAgent {
			continue // it is gone; should it come back it needs the new key anyway
		}
		switch c.Op {
		case KeyAdd:
		case KeyUse:
			if !one.Alive || !slices.Contains(one.Meta.Keys, c.Print) {
				cut = append(cut, one.Meta.Role.String()+" "+one.ID)
			}
		case KeyRemove:
			if !one.Alive || len(one.Meta.Keys) > 0 && one.Meta.Keys[0] == c.Print {
				cut = append(cut, one.Meta.Role.String()+" "+one.ID)
			}
		}
	}
	if len(cut) == 0 {
		return nil
	}
	return &cutError{c, cut}
}

// cutError says whom a command would cut off.
type cutError struct {
	command *KeyCommand
	members []string
}

func (e *cutError) Error() string {
	lack := "do not have key %s yet"
	if e.command.Op == KeyRemove {
		lack = "still use key %s"
	}
	shown := strings.Join(e.members[:min(len(e.members), 5)], ", ")
	return fmt.Sprintf("%d members are missing or "+lack+" (%s): bring them up to date, or force it", len(e.members), e.command.Print, shown)
}

// relay sends a command to every node, all at once; one that does not answer holds it up for streamTimeout.
func (m *Membership) relay(ctx context.Context, sealed []byte, command *KeyCommand) CommandResult {
	result := CommandResult{Applied: 1}
	message := append([]byte{messageKeyCommand}, sealed...)
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, node := range m.nodes() {
		all.Go(func() {
			err := ctx.Err()
			if err == nil {
				err = m.list.SendReliable(node, message)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				m.log.Warn("cluster: a node could not be told", slog.String("command", command.Op.String()), slog.String("member", node.Name), slog.Any("error", err))
				result.Missed = append(result.Missed, node.Name)
				return
			}
			result.Applied++
		})
	}
	all.Wait()
	for _, one := range m.Members() {
		if !one.Alive && one.Meta.Role == RoleNode {
			result.Missed = append(result.Missed, one.ID)
		}
	}
	slices.Sort(result.Missed)
	return result
}

// nodes is the other nodes as memberlist knows them.
func (m *Membership) nodes() []*memberlist.Node {
	alive := make(map[string]bool)
	for _, one := range m.Members() {
		alive[one.ID] = one.Alive && one.Meta.Role == RoleNode
	}
	return slices.DeleteFunc(m.list.Members(), func(node *memberlist.Node) bool { return !alive[node.Name] })
}
