package affinity

import "time"

// clock is a store's time: Unix seconds as the wall clock had them when the store was made, and from then on what
// passes. A wall clock that is set right, or wrong, makes nothing older or younger. Processes that one after another
// have the same tables have one time; see header.follow.
type clock struct {
	begun time.Time     // monotonic
	unix  time.Time     // what it was then, without that
	ahead time.Duration // tests: of the wall clock
}

func newClock(ahead time.Duration) clock {
	now := time.Now()
	return clock{begun: now, unix: now.Round(0).Add(ahead), ahead: ahead}
}

func (c *clock) now() time.Time { return c.unix.Add(time.Since(c.begun)) }

func (c *clock) wall() time.Time { return time.Now().Round(0).Add(c.ahead) }

// Time is the store's time: what its methods take as now, in Unix seconds. It begins as that of the wall clock, and
// goes on when that is set.
func (s *Store) Time() time.Time { return s.clock.now() }

// Now is Time in Unix seconds.
func (s *Store) Now() uint32 { return unixSeconds(s.clock.now()) }

// Behind is how many seconds the store's time is behind the wall clock: what to add for people and files. Mostly 0.
func (s *Store) Behind() int64 {
	return int64(s.clock.wall().Sub(s.clock.now()).Round(time.Second) / time.Second)
}

// onWall is a time of the store's as people know it.
func (s *Store) onWall(t uint32) uint32 { return uint32(int64(t) + s.Behind()) }

// Two words of a header say what the time of the table's entries is. They are not part of its checksum: a table without
// them is good, and its time the wall clock's.
const (
	headerBoot  = 5 // which start of this machine they were written in
	headerSince = 6 // how far the store's time was ahead of the machine's, in ns
)

// tell notes the time of the table's entries.
func (h header) tell(c *clock) {
	boot, up, ok := sinceBoot()
	if h == nil || !ok {
		return
	}
	h[headerBoot].Store(0)
	h[headerSince].Store(uint64(c.now().Add(-up).UnixNano()))
	h[headerBoot].Store(boot)
}

// follow makes c the time of the table's entries, if that is known: the machine has not been started anew since they
// were written, and the wall clock was at most a year off.
func (h header) follow(c *clock) bool {
	boot, up, ok := sinceBoot()
	if h == nil || !ok || h[headerBoot].Load() != boot {
		return false
	}
	unix := time.Unix(0, int64(h[headerSince].Load())).Add(up)
	if unix.Sub(c.wall()).Abs() > MaxTTL {
		return false
	}
	c.begun, c.unix = time.Now(), unix
	return true
}
