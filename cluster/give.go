package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"homing/cluster/bound"
)

const (
	// commandPatience is how long a command waits for members to be ready for it: news of theirs may be on the way.
	commandPatience = 3 * time.Second

	// maxReplays bounds the nonces; a node in which so many commands came in within commandAge takes no more for now.
	maxReplays = 1024
)

// admit says why a command may not be applied at now, once.
func admit(seen *bound.Recent[[nonceBytes]byte], sealed []byte, at, now time.Time) error {
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
		m.quiet.Say(slog.LevelWarn, "command", "cluster: a command is refused", slog.String("from", asker),
			slog.Any("error", err))
		return
	}
	if err != nil && !errors.Is(err, ErrBusy) {
		m.quiet.Say(slog.LevelWarn, "command of "+asker, "cluster: a command is refused", slog.String("from", asker),
			slog.Any("error", err))
	}
	m.answer(asker, sealed, err)
	if o != nil && o.asks {
		m.answerStanding(asker)
	}
}
