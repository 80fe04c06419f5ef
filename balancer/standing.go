//go:build linux

package balancer

import (
	"math/rand/v2"

	"homing/balancer/pool"
)

// A pool's budget of second chances is one bucket, and who asks for what is in it pays the same, one. What differs is
// how full it must be for them: its price. So nobody is kept from what nobody else wants, and where it is short those
// give way who have used most of it lately, and before them those who have gained nothing by it:
//
//   - a network of clients (/24, /48) that has gained by its chances lately, or whose guessed offers were accepted
//     without any: as full as one is, and one more for each that it has used, an old one counting half as much each
//     second;
//   - one that is not known: half full besides, so that a flood from ever new networks leaves the other half alone;
//   - one whose chances gain nothing, by and by, or that asks for a server name by which nobody gains: quite full.
//
// A gain weighs as much as several losses, for an honest client finds its backend only once in so many as there are. A
// name is never held against a network that gains, or junk for somebody's name would be.

const (
	// budgetBurst is the number of second chances that may come at once after a quiet time: what fills a pool's bucket.
	budgetBurst = 32.0
	// budgetKept is the part of them that unknown networks leave.
	budgetKept = budgetBurst / 2

	// gainWeight and lossWeight times the live backends are how many losses a gain makes up for, and how many in sum
	// make a network a stranger no more to be trusted.
	gainWeight = 2
	lossWeight = 2
	// maxWeighed bounds the live backends in that: beyond, a guess is hopeless.
	maxWeighed = 64

	// vainChances without a gain, over vainSeconds at least, are a name's by which nobody gains.
	vainChances = 64
	vainSeconds = 60

	// standingSeconds is how long what is known of a network or a name is good.
	standingSeconds = 300

	standingBuckets = 1 << 10
	standingWays    = 4 // 4,096 entries of 12 bytes for a loop
)

// standings is what a loop knows of those who have asked for second chances lately, in all its pools: a table of a
// fixed size, whose entries give way the worst first. A network that gains is never put out by one that does not.
type standings struct {
	seed    uint64
	entries [standingBuckets][standingWays]standing
}

// standing is an entry.
type standing struct {
	tag   uint32 // 0: free
	since uint32 // of a network: its last change; of a name: its last gain, or its begin; Unix seconds
	score int16  // gains less losses, weighed; of a name: losses since, less than 0
	used  uint16 // chances, an old one counting less
}

// asker names those who a second chance would be for: keys of what is in a standing. 0: nobody.
type asker struct{ network, name uint64 }

func newStandings() *standings { return &standings{seed: rand.Uint64()} }

// asker names the network and the server name of a conn, as its pool knows them.
func (s *standings) asker(p *pool.Pool, network uint32, name pool.NameRef) (a asker) {
	of := scramble(s.seed ^ uint64(p.Hash()))
	a.network = scramble(of ^ uint64(network))
	if name != 0 {
		a.name = scramble(^of ^ uint64(name))
	}
	return a
}

// find is what is known of a key; nil: nothing.
func (s *standings) find(key uint64, now uint32) *standing {
	bucket := &s.entries[key%standingBuckets]
	for i := range bucket {
		if e := &bucket[i]; e.tag == tagOf(key) && now-e.since < standingSeconds {
			return e
		}
	}
	return nil
}

func tagOf(key uint64) uint32 { return uint32(key>>32) | 1 }

// ensure is find, and makes an entry if there is none, in the place of the worst; nil: all are worth more.
func (s *standings) ensure(key uint64, worth int16, now uint32) *standing {
	if e := s.find(key, now); e != nil {
		return e
	}
	bucket := &s.entries[key%standingBuckets]
	worst := &bucket[0]
	for i := range bucket {
		e := &bucket[i]
		if e.tag == 0 || now-e.since >= standingSeconds {
			*e = standing{}
			worst = e
			break
		}
		if e.score < worst.score {
			worst = e
		}
	}
	if worst.score > worth {
		return nil
	}
	*worst = standing{tag: tagOf(key), since: now}
	return worst
}

// decay makes what a network has used count for less.
func (e *standing) decay(now uint32) {
	e.used >>= min(now-e.since, 16)
	e.since = now
}

// price is how full the bucket must be for a: at least 1, at most budgetBurst.
func (s *standings) price(a asker, live int, now uint32) float64 {
	e := s.find(a.network, now)
	price, proven := 1+budgetKept, false
	if e != nil {
		price += float64(e.used >> min(now-e.since, 16))
		switch proven = e.score > 0; {
		case proven:
			price -= budgetKept
		default:
			price += (budgetBurst - budgetKept) * float64(-e.score) / float64(lossWeight*weighed(live))
		}
	}
	if !proven && a.name != 0 {
		if e := s.find(a.name, now); e != nil && e.score <= -vainChances && now-e.since >= vainSeconds {
			return budgetBurst
		}
	}
	return min(price, budgetBurst)
}

// charge notes that a has had a chance. It is a loss until it is gained by.
func (s *standings) charge(a asker, live int, now uint32) {
	if e := s.ensure(a.network, 0, now); e != nil {
		e.decay(now)
		e.used++
		e.score = max(e.score-1, -int16(lossWeight*weighed(live)))
	}
	if a.name == 0 {
		return
	}
	if e := s.ensure(a.name, 0, now); e != nil {
		e.score = max(e.score-1, -vainChances)
	}
}

// gained notes that a chance of a's was worth it.
func (s *standings) gained(a asker, live int, now uint32) {
	s.earned(a, gainWeight*weighed(live)+1, live, now)
	if a.name == 0 {
		return
	}
	if e := s.find(a.name, now); e != nil {
		e.score, e.since = 0, now
	}
}

// earned raises the score of a's network.
func (s *standings) earned(a asker, score, live int, now uint32) {
	if e := s.ensure(a.network, int16(score), now); e != nil {
		e.decay(now)
		e.score = min(e.score+int16(score), int16(2*gainWeight*weighed(live)))
	}
}

func weighed(live int) int { return min(max(live, 1), maxWeighed) }
