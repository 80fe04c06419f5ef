//go:build linux

package balancer

import (
	"errors"

	"homing/balancer/pool"
)

// command is what others want of a loop.
type command struct {
	kind  commandKind
	set   *settings         // of commandAdopt
	gates map[*socket]*gate // of commandAdopt: of all sockets of the loop, from now on
	turn  uint64            // of commandTurn
	left  *pool.Backend     // of commandLeave
	done  chan<- error      // gets one answer and has room for it; nil: nobody waits
}

const (
	commandDrain        commandKind = iota // take no more connections, end when the last conn has
	commandKill                            // reset all conns and end
	commandAdopt                           // follow other settings
	commandCloseUnnamed                    // close what the settings do not name
	commandRelease                         // close all listening sockets and leave their queues to others
	commandSync                            // answer
	commandTurn                            // a conn in a queue need not wait any more
	commandLeave                           // end the conns of a backend that was marked down
)

type commandKind uint8

// post queues a command. Any goroutine.
func (l *loop) post(c command) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone { // the engine's descriptors may be somebody else's by now
		c.refuse()
		return
	}
	l.commands = append(l.commands, c)
	l.eng.Wake()
}

// refuse is the answer of a loop that is gone. What it was given is closed.
func (c *command) refuse() {
	for s := range c.gates {
		_ = s.close() // nothing to be done about it
	}
	if c.kind == commandSync { // it has finished all that it had begun
		c.answer(nil)
		return
	}
	c.answer(errEnded)
}

func (c *command) answer(err error) {
	if c.done != nil {
		c.done <- err
	}
}

// obey carries out what was posted.
func (l *loop) obey() {
	l.mu.Lock()
	commands := l.commands
	l.commands = l.obeyed[:0] // the two take turns: a place in a queue costs no heap object
	l.mu.Unlock()
	for _, c := range commands {
		var err error
		switch c.kind {
		case commandDrain:
			l.drain()
		case commandKill:
			l.kill()
		case commandAdopt:
			err = l.adopt(c.set, c.gates)
		case commandCloseUnnamed:
			l.closeUnnamed()
		case commandRelease:
			l.releaseInlets()
		case commandTurn:
			l.turnCome(c.turn)
		case commandLeave:
			l.leave(c.left)
		case commandSync:
		}
		c.answer(err)
	}
	clear(commands)
	l.obeyed = commands
}

// errEnded is the answer of a loop that runs no more.
var errEnded = errors.New("balancer: it has ended")

// kill resets every conn.
func (l *loop) kill() {
	for i := range l.conns.pages {
		for j := range l.conns.pages[i] {
			if c := &l.conns.pages[i][j]; c.state != stateFree {
				l.becomeClosing(c, CauseKilled, true)
			}
		}
	}
	l.killed = true
}
