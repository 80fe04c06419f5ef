package bench

import (
	"io"
	"time"

	"homing/bench/sock"
)

// event takes what epoll tells of a conn.
func (l *loop) event(e *sock.Event) {
	slot, gen := uint32(e.Token), uint32(e.Token>>32) // halves of the token
	if int(slot) >= len(l.conns) {
		return
	}
	k := l.conns[slot]
	if k.gen != gen || k.state == gone {
		return
	}
	if e.Writable && !k.waiting {
		if k.state == opening {
			l.canWrite(k)
		} else if len(k.out) > 0 {
			l.push(k)
		}
	}
	if e.Readable && k.gen == gen && k.state > opening && !k.read {
		l.readMore(k, e.Ended)
	}
}

// fire does what a timer was for.
func (l *loop) fire(t timer) {
	if t.what == dueAgain {
		c := l.clients[t.slot]
		c.busy = false
		l.ready = append(l.ready, c)
		return
	}
	k := l.conns[t.slot]
	if k.gen != t.gen || k.state == gone {
		return
	}
	switch t.what {
	case dueTimeout:
		l.timeout(k)
	case dueConnect:
		l.connect(k)
	case dueUp:
		if l.greet(k) {
			l.isUp(k)
			b := k.out
			k.out = nil
			l.send(k, b)
		}
	case dueIn:
		l.arrived(k)
	case dueOut:
		for p, ok := k.toTarget.pop(l.clock()); ok; p, ok = k.toTarget.pop(l.clock()) {
			k.out = append(k.out, p.b...)
		}
		l.push(k)
	case dueSegment:
		k.waiting = false
		l.push(k)
	case dueRead:
		k.read = false
		l.readMore(k, true)
	case dueAsk:
		if k.state == thinking {
			l.ask(k)
			l.flush(k)
		}
	case dueAgain:
	}
}

// timeout ends a conn whose time is over, unless it has been given more.
func (l *loop) timeout(k *conn) {
	if k.state == holding {
		return
	}
	if now := l.clock(); now < k.deadline {
		l.timers.add(timer{at: k.deadline, slot: k.slot, gen: k.gen, what: dueTimeout})
		return
	}
	if k.state == ending {
		l.finish(k)
		return
	}
	l.fail(k, TimedOut, errTimeout)
}

// flush sends what the TLS side wants sent.
func (l *loop) flush(k *conn) {
	if k.state != gone && k.tls != nil {
		l.send(k, k.tls.Output())
	}
}

// send sends bytes, or puts them behind those that wait.
func (l *loop) send(k *conn, b []byte) {
	switch {
	case len(b) == 0 || k.fd < 0:
	case l.plan.Delay > 0:
		at := l.clock() + l.plan.Delay
		k.toTarget.push(at, b, nil)
		l.timers.add(timer{at: at, slot: k.slot, gen: k.gen, what: dueOut})
	case len(k.out) > 0 || !k.up:
		k.out = append(k.out, b...)
	default:
		n, err := sock.Write(k.fd, b)
		k.record.Written += int64(n)
		if err == nil || err == sock.Again { // else reading will tell why
			k.out = append(k.out, b[n:]...)
			l.watchWriting(k)
		}
	}
}

// push sends what waits in out, the hello in segments.
func (l *loop) push(k *conn) {
	for len(k.out) > 0 && !k.waiting {
		b := k.out
		if cut := k.client.group.Shape.SegmentBytes; k.hello > 0 && cut > 0 {
			b = b[:min(cut, k.hello, len(b))]
		}
		n, err := sock.Write(k.fd, b)
		if err == sock.Again {
			l.watchWriting(k)
			return
		}
		if err != nil {
			l.broken(k, err)
			return
		}
		l.isUp(k)
		k.record.Written += int64(n)
		k.out = k.out[:copy(k.out, k.out[n:])]
		k.hello = max(0, k.hello-n)
		if gap := k.client.group.Shape.Gap; gap > 0 && k.hello > 0 {
			k.waiting = true
			l.timers.add(timer{at: l.clock() + gap, slot: k.slot, gen: k.gen, what: dueSegment})
		}
	}
}

// watchWriting has epoll tell when there is room for what waits.
func (l *loop) watchWriting(k *conn) {
	if len(k.out) == 0 || k.both || !k.up {
		return
	}
	k.both = true
	if err := l.poller.Both(k.fd, k.token()); err != nil {
		l.fail(k, classify(err), err)
	}
}

// broken deals with a conn that takes no more bytes. What the server had to say may still be there, and says why.
func (l *loop) broken(k *conn, err error) {
	if !k.up {
		l.refused(k, err)
		return
	}
	k.out = k.out[:0]
	gen := k.gen
	l.readMore(k, true)
	if k.gen == gen && k.state != gone {
		l.fail(k, classify(err), err)
	}
}

// readMore reads until there is no more for now. ended says that the end of the stream is known to be there, else a read
// that does not fill the buffer was the last.
func (l *loop) readMore(k *conn, ended bool) {
	buf, rate := l.buf, k.client.group.ReadRate
	if rate > 0 {
		buf = buf[:min(int64(len(buf)), max(rate/leastReadsPerSecond, 1))]
	}
	gen := k.gen
	for {
		n, err := sock.Read(k.fd, buf)
		if err == sock.Again {
			return
		}
		if l.plan.Delay > 0 {
			at := l.clock() + l.plan.Delay
			k.toClient.push(at, buf[:n], err)
			l.timers.add(timer{at: at, slot: k.slot, gen: k.gen, what: dueIn})
		} else {
			l.received(k, buf[:n], err)
		}
		if err != nil || k.gen != gen || k.state == gone {
			return
		}
		if rate > 0 {
			k.read = true
			pause := time.Duration(int64(n) * int64(time.Second) / rate)
			l.timers.add(timer{at: l.clock() + pause, slot: k.slot, gen: k.gen, what: dueRead})
			return
		}
		if n < len(buf) && !ended {
			return
		}
	}
}

// arrived takes what has come over the distance.
func (l *loop) arrived(k *conn) {
	gen := k.gen
	for p, ok := k.toClient.pop(l.clock()); ok && k.gen == gen && k.state != gone; p, ok = k.toClient.pop(l.clock()) {
		l.received(k, p.b, p.end)
	}
}

// received takes bytes, or why no more come.
func (l *loop) received(k *conn, b []byte, end error) {
	if len(b) > 0 {
		gen := k.gen
		err := k.tls.Receive(b, k.onData)
		if k.gen != gen || k.state == gone {
			return
		}
		if err == nil {
			err = k.blamed
		}
		if err != nil {
			l.fail(k, classify(err), err)
			return
		}
		l.noteShaken(k)
		l.flush(k)
		switch {
		case k.state == gone:
			return
		case k.tls.Closed(): // the end of the stream may be long in coming
			l.streamEnded(k, io.EOF)
			return
		case k.over():
			l.finish(k)
			return
		}
	}
	if end != nil && k.state != gone {
		l.streamEnded(k, end)
	}
}

// data takes application data.
func (l *loop) data(k *conn, b []byte) {
	if k.state == gone || k.blamed != nil {
		return
	}
	l.noteShaken(k) // the answer to early data comes with the handshake's last message
	for len(b) > 0 && k.state != gone && k.blamed == nil {
		if k.state != asking {
			k.blamed = errUnasked
			return
		}
		var err error
		if b, err = k.answer.feed(b); err != nil {
			k.blamed = &answerError{err}
			return
		}
		if k.answer.state == answered {
			l.answered(k)
		}
	}
}

// streamEnded takes the end of the stream.
func (l *loop) streamEnded(k *conn, end error) {
	k.ended = end == io.EOF
	switch {
	case k.state == ending: // whether by a FIN or a reset: all was there
		k.ended = true
		l.finish(k)
	case k.ended && k.state == asking && k.answer.end():
		l.answered(k)
		if k.state == ending {
			l.finish(k)
		} else if k.state != gone {
			l.fail(k, Closed, errEnd)
		}
	case k.ended:
		l.fail(k, Closed, errEnd)
	default:
		l.fail(k, classify(end), end)
	}
}
