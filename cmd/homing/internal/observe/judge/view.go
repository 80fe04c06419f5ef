package judge

import (
	"fmt"
	"slices"

	"homing/balancer/affinity"
)

// parts is the services that are part of the total. Where servers behind a balancer are seen, these are, and what serves the
// same names or, without names, is beside them: an address that just answers on the same port may be anybody's.
func (j *Judge) parts() map[*service]bool {
	part := map[*service]bool{j.rest: true}
	names := map[string]bool{}
	var backends []*service
	given := false
	for _, s := range j.order {
		if s.role == RoleBackend {
			backends = append(backends, s)
			given = given || s.given
		}
	}
	for k, r := range j.rows {
		if r.service.role == RoleBackend && k.name != "" && k.name != Others {
			names[k.name] = true
		}
	}
	for _, s := range j.order {
		part[s] = len(backends) == 0 || s.role == RoleBackend || s.role == RoleAlone && !given && beside(s, backends)
	}
	for k, r := range j.rows {
		if r.service.role == RoleAlone && !given && names[k.name] {
			part[r.service] = true
		}
	}
	return part
}

// beside reports whether a service has the port of one of these, and is in its network.
func beside(s *service, backends []*service) bool {
	return slices.ContainsFunc(backends, func(b *service) bool {
		return s.addr.Port() == b.addr.Port() && affinity.HashNetwork(s.addr.Addr()) == affinity.HashNetwork(b.addr.Addr())
	})
}

// view says where the capture was made.
func (j *Judge) view(part map[*service]bool) View {
	var by [3]int
	for _, s := range j.order {
		by[s.role]++
	}
	behind := plural(servers(part), "server", "servers")
	how := "by --backend"
	if n := j.links.n; n > 0 {
		how = fmt.Sprintf("%s went to an address for what another had issued", plural(int(n), "offer", "offers"))
	}
	switch {
	case len(j.order) == 0:
		return View{ViewNothing, "no server has answered a hello"}
	case by[RoleBackend] > 0 && by[RoleFront] > 0:
		return View{ViewBoth, fmt.Sprintf("what comes to %s goes on to %s", plural(by[RoleFront], "address", "addresses"), behind)}
	case by[RoleBackend] > 0:
		if n := j.doors(part); n > 0 {
			return View{ViewBefore, fmt.Sprintf("the same servers answer at %d addresses", n)}
		}
		return View{ViewBetween, behind + ": " + how}
	case by[RoleAlone]+by[RoleFront] == 1:
		return View{ViewBefore, "one address answers"}
	case by[RoleFront] > 0 && by[RoleAlone] == 0:
		return View{ViewBefore, "by --vip"}
	}
	return View{ViewApart, fmt.Sprintf("%d addresses answer, and none was offered what another had issued", len(j.order))}
}

// fewRefused is how many sessions a server that goes on with their key may refuse for other reasons.
const fewRefused = 4

// doors is how many addresses are ways to the same servers, such as a balancer's for IPv4 and for IPv6: what one has issued
// is offered to another, as it is to servers behind a balancer. But each is several servers itself, which have things in
// common with those of the others. 0: not most of the offers went to such addresses, or flags say what is a server.
func (j *Judge) doors(part map[*service]bool) (n int) {
	type sum struct {
		offers, homeRefused uint64
		awayAccepted        provenBy
	}
	sums := make(map[*service]*sum)
	var all, at uint64
	for _, r := range j.rows {
		if !part[r.service] || r.service.role != RoleBackend {
			continue
		}
		if r.service.given {
			return 0
		}
		k := sums[r.service]
		if k == nil {
			k = &sum{}
			sums[r.service] = k
		}
		k.offers += r.Offers()
		all += r.Offers()
		for _, by := range []Stratum{BySession, ByKey, ByHint, ByProbe} {
			k.homeRefused += r.By[by].HomeRefused
			k.awayAccepted[r.key.kind] += r.By[by].AwayAccepted
		}
	}
	issuing, common := j.keys.issuers()
	for s, k := range sums {
		proven := s.proven()
		if j.hidden() {
			proven[affinity.OfferPSK] = 0 // that goes by when the client was here
		}
		keys := k.homeRefused >= fewRefused && issuing[s.id] > 1 && common[s.id]
		sessions := false // of one kind: servers may share ticket keys, and each have IDs of its own
		for kind, good := range proven {
			sessions = sessions || good >= linkEnough && 20*good >= k.offers && k.awayAccepted[kind] > 0
		}
		if keys || sessions {
			at += k.offers
			n++
		}
	}
	if n < 2 || 2*at <= all {
		return 0
	}
	return n
}

// issuers is how many keys each service issued under at the same time, for one name, and which services have one in common
// with another.
func (k *keyUses) issuers() (atOnceBy map[uint32]int, common map[uint32]bool) {
	type issuer struct {
		service uint32
		name    string
	}
	spans, owners := make(map[issuer][]span), make(map[affinity.Key]uint32)
	atOnceBy, common = make(map[uint32]int), make(map[uint32]bool)
	for id, u := range k.uses {
		if u.issued.n < 2 {
			continue
		}
		by := issuer{id.service, u.name}
		spans[by] = append(spans[by], u.issued)
		if other, ok := owners[id.first]; ok {
			common[other], common[id.service] = true, true
		}
		owners[id.first] = id.service
	}
	for by, s := range spans {
		atOnceBy[by.service] = max(atOnceBy[by.service], atOnce(s))
	}
	return atOnceBy, common
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// servers is how many of these have a server of their own.
func servers(part map[*service]bool) (n int) {
	for s, is := range part {
		if is && s.id > 0 && s.role != RoleFront {
			n++
		}
	}
	return n
}
