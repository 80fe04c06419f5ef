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
		return View{ViewBetween, behind + ": " + how}
	case by[RoleAlone]+by[RoleFront] == 1:
		return View{ViewBefore, "one address answers"}
	case by[RoleFront] > 0 && by[RoleAlone] == 0:
		return View{ViewBefore, "by --vip"}
	}
	return View{ViewApart, fmt.Sprintf("%d addresses answer, and none was offered what another had issued", len(j.order))}
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
