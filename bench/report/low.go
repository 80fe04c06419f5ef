package report

// lowPlans are the tables of low: its measures by rates.
func lowPlans() []tablePlan {
	return []tablePlan{
		{mBalancer, "The balancer's own CPU time per conn, by conns per second", balancing},
		{mAbove, "CPU time of the whole machine per conn beyond what it is without a balancer, by conns per second", balancing},
		{mVoluntary, "Times per conn that the balancer's threads waited, by conns per second", balancing},
		{mHandshakeP99, "99 % had shaken hands within, from the TCP conn on, by conns per second", nil},
		{mAnswer, "99 % had their answer within, from when the conn should have begun, by conns per second", nil},
	}
}

// lowTables are these tables; none where no run asked.
func (v *view) lowTables() []table {
	list := v.questions(Low)
	if len(list) == 0 {
		return nil
	}
	choices := v.choices(list)
	var tables []table
	for _, plan := range lowPlans() {
		tables = append(tables, v.planned(plan, list, choices))
	}
	return tables
}
