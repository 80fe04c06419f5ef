package judge

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"homing/bench/testkit"
)

// world is some servers that keep sessions for a while, and clients that come again and again.
type world struct {
	*script
	random   *rand.Rand
	kind     string        // id, ticket, psk, or nameless: a psk without the name of its key
	life     time.Duration // of a session
	idle     time.Duration // between two visits of a client, at the mean
	before   bool          // what is seen is one address
	issued   int
	offers   int
	accepted int // by servers in turn
	homed    int // had each offer gone to its issuer
}

// visitor is a client: what it has with the balancer of today, and what it would have with homing.
type visitor struct {
	next         time.Time
	session      string // its name; empty: none
	home         byte   // who issued it
	born, rooted time.Time
}

// visit is one conn of a client to the server whose turn it is.
func (w *world) visit(n int, v *visitor, at byte) {
	w.now = v.next
	to := string(at)
	if w.before {
		to = "V"
	}
	words := []string{"refuse", to, "name=site.example", fmt.Sprintf("client=192.0.%d.%d", 2+n/200, n%200)}
	tls13, word := w.kind == "psk" || w.kind == "nameless", w.kind
	if tls13 {
		word = "psk"
	} else {
		words = append(words, "tls12")
	}
	fresh := v.session == ""
	accepted := !fresh && at == v.home && w.now.Sub(v.born) <= w.life
	if !fresh {
		w.offers++
		words = append(words, word+"="+v.session)
		if accepted {
			words[0] = "accept"
			w.accepted++
		}
		if w.now.Sub(v.rooted) <= w.life {
			w.homed++
		} else {
			v.rooted = w.now
		}
	} else {
		v.rooted = w.now
	}
	if !accepted || tls13 { // TLS 1.3 gives new tickets each time
		w.issued++
		v.session, v.home, v.born = fmt.Sprintf("%c.%d", at, w.issued), at, w.now
		switch w.kind {
		case "id":
			v.session = fmt.Sprintf("session%d", w.issued)
			words = append(words, "new="+v.session)
		case "ticket":
			words = append(words, "issue="+v.session)
		case "nameless":
			v.session = fmt.Sprintf("go.%d", w.issued)
		}
		if tls13 {
			v.rooted = w.now
		}
	}
	w.conn(words)
	v.next = v.next.Add(time.Duration((0.5 + w.random.Float64()) * float64(w.idle)))
}

// What is predicted is what would have been, within a point where servers say how long sessions are good, and within its
// bounds where they do not.
func TestPrediction(t *testing.T) {
	for _, tc := range []struct {
		kind       string
		life, idle time.Duration
		point      bool
	}{
		{"psk", 300 * time.Second, 60 * time.Second, true},
		{"psk", 300 * time.Second, 250 * time.Second, true},
		{"nameless", 300 * time.Second, 60 * time.Second, true},
		{"nameless", 300 * time.Second, 250 * time.Second, true},
		{"ticket", 300 * time.Second, 5 * time.Second, true},
		{"ticket", 300 * time.Second, 60 * time.Second, true},
		{"ticket", 300 * time.Second, 170 * time.Second, true},
		{"id", 300 * time.Second, 5 * time.Second, true},
		{"id", 300 * time.Second, 60 * time.Second, false},
		{"id", 10 * time.Hour, 60 * time.Second, false},
		{"id", 300 * time.Second, 250 * time.Second, false},
	} {
		for _, before := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v %v before=%v", tc.kind, tc.life, tc.idle, before), func(t *testing.T) {
				j, err := New(Config{Seed: 1})
				testkit.Check(t, err)
				defer func() { testkit.Check(t, j.Free()) }()
				w := &world{
					script: &script{T: t, judge: j}, random: rand.New(rand.NewPCG(1, 2)), kind: tc.kind, life: tc.life, idle: tc.idle,
					before: before,
				}
				w.run(4000)
				o := &j.Findings().Total
				all := float64(o.Accepted + o.Lost)
				low, best, high := o.Homing.Low/all, o.Homing.Accepted/all, o.Homing.High/all
				truth := float64(w.homed) / float64(w.offers)
				t.Logf("%d of %d accepted; with homing %.4f (%.4f to %.4f), in truth %.4f", w.accepted, w.offers, best, low, high, truth)
				if int(o.Accepted) != w.accepted || int(o.Accepted+o.Lost) != w.offers || o.Seen == before {
					t.Errorf("counted %d of %.0f", o.Accepted, all)
				}
				if truth < low-0.01 || truth > high+0.01 {
					t.Error("the truth is not between the bounds")
				}
				if !before && tc.point && (best < truth-0.01 || best > truth+0.01) {
					t.Error("the prediction is off by more than a point")
				}
			})
		}
	}
}

// run has clients visit so often, each at its time, the servers in turn.
func (w *world) run(visits int) {
	visitors := make([]visitor, 150)
	for i := range visitors {
		visitors[i].next = time.Unix(1_800_000_000, 0).Add(time.Duration(w.random.Float64() * float64(w.idle)))
	}
	for turn := range visits {
		n := 0
		for i := range visitors {
			if visitors[i].next.Before(visitors[n].next) {
				n = i
			}
		}
		w.visit(n, &visitors[n], "ABC"[turn%3])
	}
}
