package cluster

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"

	"homing/cluster/bound"
)

const (
	// answerTimeout is how long a command waits for the nodes' answers: for the dial of a node that is gone to fail,
	// and a little more.
	answerTimeout = streamTimeout + time.Second

	// answerGrace is how long it waits for nodes that have not shown the node key to anybody here.
	answerGrace = time.Second

	// maxAnswer bounds an answer's words, in bytes.
	maxAnswer = 256

	maxSealedAnswer = nonceBytes + commandHeader + nonceBytes + 1 + bound.MaxID + maxAnswer + tagBytes
	maxMessage      = 2 + max(bound.MaxID+maxSealed, maxSealedAnswer)
)

// cutAsker takes a message apart: the ID of the node that wants the answer, behind its length, and the sealed command.
func cutAsker(message []byte) (asker string, sealed []byte, ok bool) {
	if len(message) < 1 || len(message) < 1+int(message[0]) {
		return "", nil, false
	}
	n := 1 + int(message[0])
	return string(message[1:n]), message[n:], true
}

// The first byte of a user message.
const (
	messageCommand = 1 // then who asks, and a sealed command
	messageAnswer  = 2 // then a sealed answer
)

// commandMessage is the user message that brings a sealed command to another node.
func (m *Membership) commandMessage(sealed []byte) []byte {
	return append(append([]byte{messageCommand, byte(len(m.cfg.ID))}, m.cfg.ID...), sealed...)
}

// relay sends a command to every node, all at once, and collects the answers.
func (m *Membership) relay(ctx context.Context, sealed []byte) []Answer {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(m.cfg.answers, answerTimeout))
	defer cancel()
	nodes := m.nodes()
	q := &question{missing: make(map[string]bool), answers: make(chan Answer, len(nodes))}
	for _, node := range nodes {
		q.missing[node.Name] = true
	}
	nonce := [nonceBytes]byte(sealed)
	m.mu.Lock()
	m.questions[nonce] = q
	m.mu.Unlock()
	message := m.commandMessage(sealed)
	for _, node := range nodes {
		go func() { // ends within streamTimeout
			if err := m.list.SendReliable(node, message); err != nil {
				m.answered(nonce, Answer{node.Name, "it could not be told: " + err.Error()})
			}
		}()
	}
	answers := []Answer{{Node: m.cfg.ID}}
	grace := time.NewTimer(cmp.Or(m.cfg.answers, answerGrace))
	defer grace.Stop()
	for done, late := false, false; !done && len(answers) <= len(nodes); {
		select {
		case <-ctx.Done():
			done = true
		case <-grace.C:
			late = true
			done = !m.awaitsTrusted(q)
		case one := <-q.answers:
			answers = append(answers, one)
			done = late && !m.awaitsTrusted(q)
		}
	}
	m.mu.Lock()
	delete(m.questions, nonce)
	for id := range q.missing {
		answers = append(answers, Answer{id, "no answer: it may have another node key"})
	}
	m.mu.Unlock()
	for len(q.answers) > 0 { // those that came while we stopped waiting
		answers = append(answers, <-q.answers)
	}
	for _, one := range m.Members() {
		if !one.Alive && one.Meta.Role == RoleNode {
			answers = append(answers, Answer{one.ID, "it vanished, and was not told"})
		}
	}
	slices.SortFunc(answers[1:], func(a, b Answer) int { return cmp.Compare(a.Node, b.Node) })
	return slices.CompactFunc(answers, func(a, b Answer) bool { return a.Node == b.Node }) // it vanished meanwhile
}

// awaitsTrusted says that a node which must answer has not.
func (m *Membership) awaitsTrusted(q *question) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range q.missing {
		if m.cfg.Trusts == nil || m.cfg.Trusts(id) {
			return true
		}
	}
	return false
}

// answered notes a node's first answer to a command that is waiting for it.
func (m *Membership) answered(nonce [nonceBytes]byte, a Answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q := m.questions[nonce]; q != nil && q.missing[a.Node] {
		delete(q.missing, a.Node)
		q.answers <- a // there is room for one of each
	}
}

// answer tells the node that sent a command what became of it here. Sealed as the command was, it carries the command's
// nonce, the ID of this node behind its length, and what went wrong, nothing being good.
func (m *Membership) answer(asker string, command []byte, err error) {
	rest := append(slices.Clone(command[:nonceBytes]), byte(len(m.cfg.ID)))
	rest = append(rest, m.cfg.ID...)
	if err != nil {
		text := strings.ToValidUTF8(err.Error(), "?")
		rest = append(rest, text[:min(len(text), maxAnswer)]...)
	}
	sealed, err := seal((*m.nodeKeys.Load())[0], opAnswer, false, rest, time.Now())
	if err != nil {
		m.log.Warn("cluster: a command is not answered", slog.Any("error", err))
		return
	}
	nodes := m.nodes()
	i := slices.IndexFunc(nodes, func(node *memberlist.Node) bool { return node.Name == asker })
	if i < 0 {
		return // we do not know it yet, or any more
	}
	node := nodes[i]
	go func() { // ends within streamTimeout
		if err := m.list.SendReliable(node, append([]byte{messageAnswer}, sealed...)); err != nil {
			m.log.Debug("cluster: a command is not answered", slog.String("member", asker), slog.Any("error", err))
		}
	}()
}

// receiveAnswer takes an answer, while a command waits for any. It does not block.
func (m *Membership) receiveAnswer(sealed []byte) {
	m.mu.Lock()
	waiting := len(m.questions) > 0
	m.mu.Unlock()
	if !waiting {
		return
	}
	nonce, a, err := openAnswer(*m.nodeKeys.Load(), sealed)
	if err != nil {
		m.log.Debug("cluster: an answer is passed over", slog.Any("error", err))
		return
	}
	m.answered(nonce, a)
}

func openAnswer(nodeKeys [][]byte, sealed []byte) (nonce [nonceBytes]byte, a Answer, err error) {
	plain, err := unseal(nodeKeys, sealed)
	if err != nil {
		return nonce, a, err
	}
	if len(plain) < commandHeader+nonceBytes || plain[0] != commandVersion || Op(plain[1]) != opAnswer {
		return nonce, a, errors.New("it is none")
	}
	rest := plain[commandHeader:]
	node, text, ok := cutAsker(rest[nonceBytes:])
	if !ok {
		return nonce, a, errors.New("the answer ends early")
	}
	return [nonceBytes]byte(rest), Answer{node, string(text)}, nil
}
