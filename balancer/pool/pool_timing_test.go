package pool

import (
	"fmt"
	"testing"
)

func BenchmarkMaglev(b *testing.B) {
	for _, n := range []int{3, 100, 4096} {
		b.Run(fmt.Sprintf("backends=%d", n), func(b *testing.B) {
			p := newPool(b, Options{}, numbered(n)...)
			b.ReportAllocs()
			var hash uint64
			for b.Loop() {
				hash += 0x9e3779b97f4a7c15
				p.Snapshot().Maglev(hash, Skip{})
			}
		})
	}
}

func BenchmarkMaglevOf(b *testing.B) {
	for _, size := range [][2]int{{2, 3}, {3, 3}, {2, 100}, {50, 100}} {
		b.Run(fmt.Sprintf("set=%d/backends=%d", size[0], size[1]), func(b *testing.B) {
			p := newPool(b, Options{}, numbered(size[1])...)
			var set []uint32
			for i := range size[0] {
				set = append(set, uint32(member(p, i).ID))
			}
			b.ReportAllocs()
			var hash uint64
			for b.Loop() {
				hash += 0x9e3779b97f4a7c15
				p.Snapshot().MaglevOf(hash, set, Skip{})
			}
		})
	}
}

// BenchmarkMaglevNoneLeft is the most a lookup can cost: nothing in the table can take the conn.
func BenchmarkMaglevNoneLeft(b *testing.B) {
	for _, n := range []int{3, 100, 4096} {
		b.Run(fmt.Sprintf("backends=%d", n), func(b *testing.B) {
			p := newPool(b, Options{}, numbered(n)...)
			for _, one := range p.Snapshot().All() {
				one.state.Store(stateDown)
			}
			b.ReportAllocs()
			for b.Loop() {
				p.Snapshot().Maglev(1, Skip{})
			}
		})
	}
}

func BenchmarkFresh(b *testing.B) {
	for policy := RoundRobin; policy <= ClientHash; policy++ {
		for _, n := range []int{3, 100} {
			b.Run(fmt.Sprintf("%v/backends=%d", policy, n), func(b *testing.B) {
				p := newPool(b, Options{}, numbered(n)...)
				b.ReportAllocs()
				var hash uint64
				for b.Loop() {
					hash += 0x9e3779b97f4a7c15
					p.Snapshot().Fresh(policy, hash, Skip{})
				}
			})
		}
	}
}

func BenchmarkUsable(b *testing.B) {
	p := newPool(b, Options{}, numbered(100)...)
	one := member(p, 50)
	hold(one, 70) // beyond the slack, so that the mean is asked
	b.ReportAllocs()
	for b.Loop() {
		p.Snapshot().Usable(one)
	}
}

// BenchmarkBuild is what one change of the live backends costs whoever reconciles.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{3, 100, 1000, 4096} {
		specs := numbered(n)
		for i := range specs {
			specs[i].Weight = i%10 + 1
		}
		live := newPool(b, Options{}, specs...).Snapshot().Live()
		weights := make([]int, n)
		for i, one := range live {
			weights[i] = one.Weight()
		}
		b.Run(fmt.Sprintf("maglev/backends=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buildMaglev(live)
			}
		})
		b.Run(fmt.Sprintf("sequence/backends=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sequence(weights)
			}
		})
	}
}
