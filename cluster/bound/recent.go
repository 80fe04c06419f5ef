package bound

import (
	"maps"
	"time"
)

// Recent remembers things for a time, at most Max of them. It is not to be used by two goroutines at once.
type Recent[K comparable] struct {
	Max int

	until map[K]time.Time
}

// Note remembers a thing until a time. It is false if there is no room for it: what is there stays.
func (r *Recent[K]) Note(key K, until, now time.Time) bool {
	if _, known := r.until[key]; !known && len(r.until) >= r.Max {
		maps.DeleteFunc(r.until, func(_ K, until time.Time) bool { return !now.Before(until) })
		if len(r.until) >= r.Max {
			return false
		}
	}
	if r.until == nil {
		r.until = make(map[K]time.Time)
	}
	r.until[key] = until
	return true
}

// Has says that a thing is remembered.
func (r *Recent[K]) Has(key K, now time.Time) bool { return now.Before(r.until[key]) }

// All is the things, and until when each is remembered.
func (r *Recent[K]) All() map[K]time.Time { return r.until }
