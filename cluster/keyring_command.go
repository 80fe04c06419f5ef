package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
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

// KeyCommand changes the gossip keys of all nodes.
type KeyCommand struct {
	Op    KeyOp
	Force bool     // although members would be cut off
	Key   []byte   // KeyAdd
	Print KeyPrint // KeyUse, KeyRemove
}

// Seal makes the command's form for Membership.Command.
func (c *KeyCommand) Seal(nodeKey []byte, now time.Time) ([]byte, error) {
	rest := c.Print[:]
	if c.Op == KeyAdd {
		rest = c.Key
	}
	return seal(nodeKey, byte(c.Op), c.Force, rest, now)
}

func parseKeyCommand(op KeyOp, force bool, rest []byte) (*KeyCommand, error) {
	c := &KeyCommand{Op: op, Force: force}
	switch {
	case op == KeyAdd && len(rest) == KeyBytes:
		c.Key = rest
		c.Print = PrintOf(rest)
	case (op == KeyUse || op == KeyRemove) && len(rest) == len(c.Print):
		c.Print = KeyPrint(rest)
	default:
		return nil, fmt.Errorf("the command %d with %d bytes is not known", op, len(rest))
	}
	return c, nil
}

func (c *KeyCommand) judge(members []Member) error {
	if c.Force {
		return nil
	}
	return judgeCommand(c, members)
}

func (c *KeyCommand) apply(m *Membership) (err error) {
	if m.cfg.Keys == nil {
		return errors.New("this node gossips without a key")
	}
	switch c.Op {
	case KeyAdd:
		err = m.cfg.Keys.Add(c.Key)
	case KeyUse:
		err = m.cfg.Keys.Use(c.Print)
	case KeyRemove:
		err = m.cfg.Keys.Remove(c.Print)
	}
	if err != nil {
		return err
	}
	m.log.Info("cluster: key "+c.Op.String(), slog.String("key", c.Print.String()), slog.Int("keys", len(m.cfg.Keys.Prints())))
	m.cfg.KeysChanged(m.cfg.Keys.Keys())
	return m.Update(func(*Meta) {}) // the prints are new
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
