package tlscore

import "sync"

// ServerSessions is a server's session cache, of so many sessions as Max says; the oldest go first. It is safe for
// concurrent use.
type ServerSessions struct {
	Max int // 0: 100,000

	mu    sync.Mutex
	byID  map[[32]byte]serverSession // guarded by mu
	order [][32]byte                 // guarded by mu; oldest first
}

// serverSession is what a server keeps of a session.
type serverSession struct {
	suite    uint16
	master   []byte
	extended bool
}

func (c *ServerSessions) put(id [32]byte, s serverSession) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = map[[32]byte]serverSession{}
	}
	limit := c.Max
	if limit == 0 {
		limit = 100_000
	}
	for len(c.order) >= limit {
		delete(c.byID, c.order[0])
		c.order = c.order[1:]
	}
	c.byID[id] = s
	c.order = append(c.order, id)
}

func (c *ServerSessions) get(id []byte) (serverSession, bool) {
	if len(id) != 32 {
		return serverSession{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.byID[[32]byte(id)]
	return s, ok
}
