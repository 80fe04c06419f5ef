//go:build linux

package balancer

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"homing/balancer/internal/netio"
)

// drainGrace is the time to take what waits in the listeners' queues when a listener is to be closed. Under load there
// is always one more: then they are closed all the same.
const drainGrace = 200 * time.Millisecond

// inletsKept is how many closed inlets are kept before the tag of one is used again, so that an accept that was under
// way in the engine when it was closed finds its gate.
const inletsKept = 32

// inlet is a loop's use of a listening socket. Its place in loop.inlets is the tag under which the engine reports
// connections from it.
type inlet struct {
	*socket // fd is read without its lock here, for the loop alone writes it
	gate    *gate
	watched bool       // the engine takes from it
	held    bool       // its listener has as many conns as it may
	unnamed bool       // the settings do not name it: closed by closeUnnamed, if they stand
	lookAt  netio.Time // when it is held: then it is seen whether anybody waits
	leaving bool       // closed as soon as nothing waits in its queue
	leaveBy netio.Time
}

// adopt makes the loop follow other settings. Sockets that these do not name go on as they were until closeUnnamed, so
// that everything can be taken back: an error says that a new one cannot be taken from.
func (l *loop) adopt(set *settings, gates map[*socket]*gate) (err error) {
	l.set = set
	if limit := set.cfg.HelloLimit; limit > len(l.scratch) { // conns of before may have had more
		l.scratch = make([]byte, limit)
	}
	had := make(map[*socket]bool, len(l.inlets))
	for _, in := range l.inlets {
		g := gates[in.socket]
		in.unnamed = g == nil
		if g != nil {
			had[in.socket] = true
			in.gate.next, in.gate = g, g
		}
	}
	for s, g := range gates {
		if !had[s] {
			err = errors.Join(err, l.addInlet(&inlet{socket: s, gate: g}))
		}
	}
	return err
}

func (l *loop) addInlet(in *inlet) error {
	tag := len(l.inlets)
	if len(l.spent) > inletsKept {
		tag = int(l.spent[0])
		l.spent = l.spent[1:]
		l.inlets[tag] = in
	} else {
		l.inlets = append(l.inlets, in)
	}
	if !l.running || l.paused {
		return nil
	}
	return l.watch(in, uint32(tag))
}

func (l *loop) watch(in *inlet, tag uint32) error {
	if in.watched || in.fd < 0 {
		return nil
	}
	if in.gate.full() {
		l.hold(in)
		return nil
	}
	if in.dormant {
		if err := netio.StartListener(in.fd); err != nil {
			return err
		}
		in.dormant = false
	}
	err := l.eng.Listen(in.fd, tag, in.shared)
	in.watched = err == nil
	return err
}

// hold leaves the connections of a listener that is full to its queue.
func (l *loop) hold(in *inlet) {
	l.unwatch(in)
	if !in.held {
		in.held, in.lookAt = true, l.now.Add(acceptPause)
		l.held++
	}
	if in.leaving {
		in.shutQueue()
	}
}

// unhold takes connections again from the listeners that have room.
func (l *loop) unhold() {
	for i, in := range l.inlets {
		if !in.held {
			continue
		}
		if in.gate.full() {
			if l.now >= in.lookAt {
				in.lookAt = l.now.Add(acceptPause)
				l.countHeld(in, HoldListener)
			}
			continue
		}
		in.held, in.leaveBy = false, l.now.Add(drainGrace)
		l.held--
		if err := l.watch(in, uint32(i)); err != nil {
			l.say(slog.LevelError, "cannot listen again", slog.Any("error", err))
		}
	}
}

// countHeld counts that clients were left waiting for an acceptPause, if there are any.
func (l *loop) countHeld(in *inlet, why Hold) {
	if in.fd >= 0 && netio.Queued(in.fd) {
		addTime(&in.gate.count.Held[why], acceptPause)
	}
}

// empties says whether an inlet that is leaving is being emptied at present.
func (l *loop) empties() bool {
	emptied := func(in *inlet) bool { return in.leaving && !in.held }
	return l.leaving > 0 && !l.paused && slices.ContainsFunc(l.inlets, emptied)
}

// listen takes connections from every inlet.
func (l *loop) listen() (err error) {
	for i, in := range l.inlets {
		err = errors.Join(err, l.watch(in, uint32(i)))
	}
	return err
}

// unlisten leaves connections to the queues.
func (l *loop) unlisten() {
	for _, in := range l.inlets {
		l.unwatch(in)
	}
}

func (l *loop) unwatch(in *inlet) {
	if in.watched {
		_ = l.eng.Unlisten(in.fd) // a registered descriptor of ours
		in.watched = false
	}
}

// closeUnnamed begins to close the inlets that the settings do not name.
func (l *loop) closeUnnamed() {
	for _, in := range l.inlets {
		if in.unnamed {
			l.depose(in)
		}
	}
}

// depose closes an inlet once its queue is empty, so that nobody whom the kernel has let in is reset.
func (l *loop) depose(in *inlet) {
	if in.fd < 0 || in.leaving {
		return
	}
	if !l.running { // nobody takes from it
		l.closeInlet(in)
		return
	}
	in.leaving, in.leaveBy = true, l.now.Add(drainGrace)
	l.leaving++
	if l.paused || in.held {
		in.shutQueue()
	}
}

// closeInlet closes an inlet now; what waits in its queue is reset, unless another process has the socket too.
func (l *loop) closeInlet(in *inlet) {
	if in.fd < 0 {
		return
	}
	l.unwatch(in)
	if in.held {
		in.held = false
		l.held--
	}
	if in.leaving {
		in.leaving = false
		l.leaving--
	}
	if err := in.close(); err != nil {
		l.say(slog.LevelWarn, "closing a listener", slog.String("listener", in.gate.Name), slog.Any("error", err))
	}
	l.spent = append(l.spent, uint32(slices.Index(l.inlets, in)))
}

// drain stops taking connections.
func (l *loop) drain() {
	l.draining = true
	for _, in := range l.inlets {
		l.depose(in)
	}
}

// releaseInlets closes all inlets: what waits is another process's.
func (l *loop) releaseInlets() {
	for _, in := range l.inlets {
		l.closeInlet(in)
	}
}

// listens says whether any inlet is open.
func (l *loop) listens() bool {
	return slices.ContainsFunc(l.inlets, func(in *inlet) bool { return in.fd >= 0 })
}
