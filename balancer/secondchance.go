//go:build linux

package balancer

// spend takes one second chance out of the budget of the conn's pool, if it is full enough for its client.
func (l *loop) spend(c *conn) bool {
	share, live := c.lane.share, len(c.lane.pool.Snapshot().Live())
	a := l.asker(c)
	if share.budget < l.standings.price(a, live, l.unix) {
		inc(&share.count.NoBudget)
		return false
	}
	share.budget--
	l.standings.charge(a, live, l.unix)
	inc(&share.count.SecondChances)
	return true
}

// gained notes that the conn's second chance was worth it, once.
func (l *loop) gained(c *conn) {
	c.hs.charged = false
	l.standings.gained(l.asker(c), len(c.lane.pool.Snapshot().Live()), l.unix)
}

// guessedRight notes that an offer whose backend was guessed has been accepted: with a chance of its own, or without,
// where there may be chances. Either says that the network's offers are somebody's.
func (l *loop) guessedRight(c *conn) {
	s := c.lane.pool.Snapshot()
	switch {
	case c.hs.charged:
		l.gained(c)
	case s.Options().SecondChance.Auto && c.hs.guessed():
		l.standings.earned(l.asker(c), 1, len(s.Live()), l.unix)
	}
}

func (l *loop) asker(c *conn) asker {
	return l.standings.asker(c.lane.pool, c.hs.offer.Network, c.name)
}
