package affinity

import "slices"

// holding is a pair of a ticket key and a backend.
type holding struct {
	key Key
	id  uint32
}

// Doubts is the ticket keys that backend id is a home of, beside others, and claims only or has only refused since it
// last proved to hold them, the most refused first. Whether it does hold them, nobody can tell from what clients offer:
// see Shown and Refuted.
func (p *Pool) Doubts(id uint32) []Key {
	type doubted struct {
		key     Key
		refused uint32
	}
	var all []doubted
	for _, k := range p.directory.Load().keys {
		if len(k.ids) < 2 {
			continue
		}
		if m := k.home(id); m != nil && (m.doubt.refusals.Load() > 0 || k.claimed(m)) {
			all = append(all, doubted{k.key, m.doubt.refusals.Load()})
		}
	}
	slices.SortFunc(all, func(a, b doubted) int { return int(b.refused) - int(a.refused) })
	keys := make([]Key, len(all))
	for i := range all {
		keys[i] = all[i].key
	}
	return keys
}

// Refuted says that at now backend id refused a ticket under key, got by a probe of our own, which another backend
// accepted right after: it holds the key no longer, or never did. No client can bring that about. The backend is a home
// of the key again as soon as it proves to hold it later than that, here or at another node.
func (p *Pool) Refuted(key Key, id, now uint32) {
	if key == 0 || id == 0 {
		return
	}
	p.hand(evidence{pool: p, refuted: key, id: id, now: now})
}

// refute takes the home from the key, unless it has proved to hold it since, and reports whether that was news. What is
// told about the pair later counts only if it is later than that.
func (p *Pool) refute(h holding, now uint32) bool {
	if p.gone[h] >= now {
		return false
	}
	k := p.keys[h.key]
	if k != nil {
		if m := k.home(h.id); m != nil && m.last.Load() > now && !k.claimed(m) {
			return false
		}
	}
	if len(p.gone) >= p.store.cfg.MaxTicketKeys {
		p.forgetGone()
	}
	p.gone[h] = now
	p.dirty = true
	p.drop(k, h.id)
	return true
}

// forgetGone makes room for one more: the oldest goes.
func (p *Pool) forgetGone() {
	var oldest holding
	for h, at := range p.gone {
		if oldest.key == 0 || at < p.gone[oldest] {
			oldest = h
		}
	}
	delete(p.gone, oldest)
}
