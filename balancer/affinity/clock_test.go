package affinity

import (
	"context"
	"slices"
	"testing"
	"time"
)

const hour = 60 * 60

// TestClockOutlivesTheProcess: whatever is done to the wall clock between two processes with the same tables, what the
// first has learned is as old to the second as it is.
func TestClockOutlivesTheProcess(t *testing.T) {
	if _, _, ok := sinceBoot(); !ok {
		t.Skip("this system does not say when it was started")
	}
	for _, step := range []int64{0, 13 * hour, -26 * hour} {
		dir := memoryDir(t)
		a := newStore(t, func(c *Config) { c.Memory = dir })
		a.Pool(1).IssuedID(77, 3, a.Now()) // lives 10 h
		a.Pool(1).Completed(78, 3, a.Now())
		shared, err := a.ExportTables()
		if err != nil {
			t.Fatal(err)
		}
		restarted := newStore(t, func(c *Config) { c.Memory, c.ahead = dir, aheadBy(step) })
		heir := newStore(t, func(c *Config) { c.Memory, c.Import, c.ahead = dir, shared, aheadBy(step) })
		for name, b := range map[string]*Store{"restarted": restarted, "heir": heir} {
			if d := elapsed(a.Now(), b.Now()); d > 5 {
				t.Errorf("%s, a step of %d s: its time is %d s off", name, step, d)
			}
			if d := b.Behind() - step; d < -5 || d > 5 {
				t.Errorf("%s, a step of %d s: said to be %d s behind", name, step, b.Behind())
			}
			for _, at := range []int64{-60, 60} {
				_, _, ok := b.entries.Lookup(77, b.Now()+uint32(10*hour+at))
				if ok != (at < 0) {
					t.Errorf("%s, a step of %d s: found %v at 10 h and %d s", name, step, ok, at)
				}
			}
			if b.Pool(1).clientHome(78, b.Now()) != 3 {
				t.Errorf("%s, a step of %d s: the client's home is lost", name, step)
			}
		}
		// What another start of the machine left there is told by the wall clock, as it always was.
		restarted.entries.header[headerBoot].Add(2)
		restarted.clients.header[headerBoot].Add(2)
		again := newStore(t, func(c *Config) { c.Memory, c.ahead = dir, aheadBy(step) })
		if d := again.Behind(); d != 0 {
			t.Errorf("after a start of the machine: %d s behind", d)
		}
	}
}

// TestClockGoesOn: the wall clock is read once.
func TestClockGoesOn(t *testing.T) {
	c := newClock(0)
	c.ahead = 13 * time.Hour // the wall clock steps
	if d := c.wall().Sub(c.now()).Round(time.Minute); d != 13*time.Hour {
		t.Errorf("the clock went along, it is %v behind", d)
	}
	before := c.now()
	for c.now().Sub(before) < time.Millisecond {
		// The test ends by its time limit if the clock stands.
	}
	s := newStore(t)
	s.clock.ahead += 13 * time.Hour
	p := s.Pool(1)
	for i := range 2 {
		p.Probed(p.HashIdent(layout("openssl", "K", i)), 1, s.Now())
		s.takeEvidence()
	}
	p.IssuedID(77, 1, s.Now())
	wall := unixSeconds(s.clock.wall())
	held := p.HeldKeys(s.Now())
	if len(held) != 1 || elapsed(held[0].Homes[0].Last, wall) > 5 || elapsed(held[0].Homes[0].Since, wall) > 5 {
		t.Errorf("people are told %+v at %d", held, wall)
	}
	known := p.Look(&Offer{Kind: OfferID, ID: 77, HasID: true}, s.Now())
	if d := elapsed(known.Expires, wall+10*hour); d > 5 {
		t.Errorf("and that a session ends %d s too early", d)
	}
}

// TestMergeBoundsWhatIsAhead: facts of a clock that is ahead live no longer here than those of any other.
func TestMergeBoundsWhatIsAhead(t *testing.T) {
	const ahead = 26 * hour
	s := newStore(t)
	p := s.Pool(1)
	facts := []Fact{
		{Kind: FactEntry, Key: 77, ID: 1, Span: spanOf(10 * hour), Time: t0 + ahead + 10*hour},
		{Kind: FactEntry, Key: 76, ID: 1, Span: spanOf(300), Time: t0 + ahead + 300},
		{Kind: FactEntry, Key: 75, ID: 1, Time: t0 + 364*24*hour}, // no span: the longest there is
		{Kind: FactClient, Key: 78, ID: 1, Span: spanOf(24 * hour), Time: t0 + ahead + 24*hour},
		{Kind: FactKeyHome, Length: 16, Pool: 1, Key: 79, ID: 1, Time: t0 + ahead},
	}
	if n := merge(s, facts, t0); n != len(facts) {
		t.Errorf("%d of %d were taken", n, len(facts))
	}
	for key, most := range map[Key]uint32{77: 10 * hour, 76: 300, 75: maxTicketTTL} {
		_, expiry, _ := s.entries.Lookup(key, t0)
		if expiry < t0+most || expiry > t0+most+most/8+1 { // spans are rounded up
			t.Errorf("%d lives %d s, not %d", key, expiry-t0, most)
		}
	}
	if _, expiry, _ := s.clients.Lookup(78, t0); expiry > t0+24*hour || expiry < t0+24*hour-4 {
		t.Errorf("the client's home lives %d s", expiry-t0)
	}
	// Another home, learned later by a clock that is right, wins.
	p.Completed(78, 2, t0+hour)
	if n := merge(s, facts[3:4], t0); n != 0 || p.clientHome(78, t0+hour) != 2 {
		t.Error("a home of a clock that was ahead outlives the next")
	}
	s.age(t0 + 24*hour)
	if keys := p.HeldKeys(t0 + 24*hour); len(keys) != 0 {
		t.Errorf("the ticket key outlives its time: %+v", keys)
	}
}

// TestSurveyBoundsWhatIsAhead: what is in a table already, by a clock that was ahead, dies in its time from now on, and
// nothing else is touched.
func TestSurveyBoundsWhatIsAhead(t *testing.T) {
	const ahead = 26 * hour
	s := newStore(t)
	p := s.Pool(1)
	p.IssuedID(77, 1, t0+ahead)
	p.Completed(78, 1, t0+ahead)
	p.Refused(&Offer{Kind: OfferPSK, Client: 78}, SourceClient, 1, t0+ahead)
	p.IssuedID(80, 1, t0)
	_, sound, _ := s.entries.Lookup(80, t0)
	for _, table := range s.tables() {
		s.survey.whole(table, t0)
		s.survey.table++
	}
	if _, expiry, _ := s.entries.Lookup(77, t0); expiry < t0+10*hour || expiry > t0+12*hour {
		t.Errorf("the session lives %d s", expiry-t0)
	}
	if _, expiry, _ := s.clients.Lookup(78, t0); expiry > t0+strikeSeconds+10 || expiry&clientBits != clientStrike {
		t.Errorf("the strike lives %d s, state %d", expiry-t0, expiry&clientBits)
	}
	if _, expiry, _ := s.entries.Lookup(80, t0); expiry != sound {
		t.Error("one that is sound was changed")
	}
}

// TestStepsOfTheClock plays what a node does whose wall clock steps by +13 h and by -26 h: nothing is lost, nothing
// lives on.
func TestStepsOfTheClock(t *testing.T) {
	for _, step := range []time.Duration{13 * time.Hour, -26 * time.Hour} {
		s := newStore(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		p := s.Pool(1)
		p.IssuedID(77, 1, s.Now())
		for i := range 2 {
			p.IssuedTicket(p.HashIdent(layout("openssl", "K", i)), 0, 1, s.Now())
		}
		s.takeEvidence()
		before := export(s, s.Now())
		s.clock.ahead += step
		go func() { s.Run(ctx); close(done) }()
		if err := s.Published(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-done
		s.age(s.Now())
		if got := export(s, s.Now()); !slices.Equal(got, before) {
			t.Errorf("a step of %v: known %v, before %v", step, got, before)
		}
		s.age(s.Now() + 25*hour)
		if got := export(s, s.Now()+25*hour); len(got) != 0 {
			t.Errorf("a step of %v: a day later %v is left", step, got)
		}
	}
}
