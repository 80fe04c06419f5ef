package judge

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/flow"
)

// Whatever comes, all that is kept is bounded, the rest is counted as others, and sums stay what they are.
func TestBounds(t *testing.T) {
	j, err := New(Config{Seed: 1, Sessions: 1000, Clients: 1000, MaxServices: 8, MaxNames: 16, MaxRows: 64})
	testkit.Check(t, err)
	defer func() { testkit.Check(t, j.Free()) }()
	s := &script{T: t, judge: j, now: time.Unix(1_800_000_000, 0)}
	random := rand.New(rand.NewPCG(1, 2))
	const conns = 20_000
	for i := range conns {
		s.conns++
		h := &helloBytes{name: fmt.Sprintf("n%d.example", random.IntN(3000)), tls13: i%2 == 0, random: fmt.Sprint(i)}
		switch n := random.IntN(30_000); random.IntN(4) {
		case 0:
			h.id = fmt.Sprintf("id%d", n)
		case 1:
			h.ticket = fmt.Sprintf("K%d.%d", n/4, n)
		case 2:
			h.psk, h.tls13 = fmt.Sprintf("go.%d", n), true
		}
		c := s.open(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i % 7), byte(i)}), 443))
		s.hello(c, h)
		s.answer(c, random.IntN(3) == 0 && (h.id+h.ticket+h.psk) != "", h, map[string]string{
			"new": fmt.Sprintf("id%d", random.IntN(30_000)), "issue": fmt.Sprintf("K%d.%d", i/4, i),
		})
		j.Close(c.Conn, flow.EndFIN)
	}
	f := j.Findings()
	for _, x := range []struct {
		what      string
		got, most int
	}{
		{"services", len(f.Servers), 8 + 1},
		{"rows", len(f.Rows), 2*64 + 16},
		{"names", len(f.ByName), 16 + 1},
		{"keys in use", len(j.keys.uses), maxKeyUses},
		{"late offers", len(j.later.offers), maxLate},
		{"links", len(j.links.set), maxLinks},
		{"recent hellos", len(j.pairs.recent), recentHellos + 1},
	} {
		if x.got > x.most {
			t.Errorf("%d %s, want at most %d", x.got, x.what, x.most)
		}
	}
	sum := func(rows []Row) (n uint64) {
		for i := range rows {
			n += rows[i].Handshakes + rows[i].Undecided + rows[i].Failed
		}
		return n
	}
	if a, b := sum(f.Rows), sum(f.ByName); a != conns || b != conns {
		t.Errorf("rows have %d conns and names %d, want %d", a, b, conns)
	}
	o := &f.Total
	if o.Homing.Low > o.Homing.Accepted || o.Homing.Accepted > o.Homing.High || o.Homing.High > float64(o.Offers) {
		t.Errorf("of %d offers homing has %+v accepted", o.Offers, o.Homing)
	}
}

// Tickets that clients make up, under more names than are kept, do not displace the keys of servers.
func TestForgedTickets(t *testing.T) {
	j, err := New(Config{Seed: 1})
	testkit.Check(t, err)
	defer func() { testkit.Check(t, j.Free()) }()
	s := &script{T: t, judge: j, now: time.Unix(1_800_000_000, 0)}
	for i := range 2 * (maxKeyUses + 100) {
		s.conn([]string{"refuse", "V", "tls12", fmt.Sprintf("ticket=F%d.%d", i/2, i)})
	}
	for i, key := range []string{"A", "B", "A", "B"} {
		s.conn([]string{"refuse", "V", "tls12", fmt.Sprintf("issue=%s.%d", key, i)})
		s.now = s.now.Add(time.Second)
	}
	if v := j.Findings().Servers[0]; v.AtLeast != 2 || len(j.keys.uses) > maxKeyUses {
		t.Errorf("%d servers or more, want 2; %d keys", v.AtLeast, len(j.keys.uses))
	}
}

// A client cannot be taken for what was not counted apart.
func TestNameOfOthers(t *testing.T) {
	j, err := New(Config{Seed: 1, MaxNames: 2})
	testkit.Check(t, err)
	defer func() { testkit.Check(t, j.Free()) }()
	s := &script{T: t, judge: j, now: time.Unix(1_800_000_000, 0)}
	for _, name := range []string{Others, "one.example", "two.example"} {
		s.conn([]string{"refuse", "V", "name=" + name})
	}
	if f := j.Findings(); len(f.ByName) != 3 {
		t.Errorf("%+v", f.ByName)
	}
}

// Between two files hours may lie, which nobody has observed.
func TestGap(t *testing.T) {
	j, err := New(Config{Seed: 1})
	testkit.Check(t, err)
	defer func() { testkit.Check(t, j.Free()) }()
	begin := time.Unix(1_800_000_000, 0)
	for _, at := range []time.Duration{0, 10 * time.Second, 24 * time.Hour, 24*time.Hour + 10*time.Second} {
		j.Pass(begin.Add(at))
	}
	if f := j.Findings(); f.Observed != 20 {
		t.Errorf("observed for %v s, want 20", f.Observed)
	}
}

// Times may be anything, and may jump.
func TestTimes(t *testing.T) {
	for _, begin := range []time.Time{time.Unix(0, 0), time.Unix(1_000_000, 0), time.Unix(4_000_000_000, 0), time.Unix(1<<40, 0), {}} {
		t.Run(begin.UTC().String(), func(t *testing.T) {
			j, err := New(Config{Seed: 1})
			testkit.Check(t, err)
			defer func() { testkit.Check(t, j.Free()) }()
			s := &script{T: t, judge: j, now: begin}
			for _, jump := range []time.Duration{0, 400 * 24 * time.Hour, -500 * 24 * time.Hour, -time.Second, time.Hour} {
				s.now = s.now.Add(jump)
				for _, words := range [][]string{
					{"refuse", "A", "tls12", "new=one"}, {"refuse", "B", "tls12", "id=one"}, {"accept", "A", "tls12", "id=one"},
				} {
					s.conn(words)
				}
			}
			f := j.Findings()
			if f.Total.Accepted != 5 || f.Total.Why["elsewhere"] != 5 {
				t.Errorf("%+v", f.Total)
			}
			if f.Observed < 0 || f.Observed > 24*3600 {
				t.Errorf("observed for %v s", f.Observed)
			}
		})
	}
}
