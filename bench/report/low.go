package report

import "slices"

// lowTables are the tables of low: its measures by rates; none where no run asked.
func (v *view) lowTables() []table {
	list := v.questions(Low)
	if len(list) == 0 {
		return nil
	}
	choices := v.choices(list)
	var tables []table
	plans := sectionPlans()
	for _, plan := range plans[slices.IndexFunc(plans, func(p sectionPlan) bool { return p.ID == Low })].Tables {
		tables = append(tables, v.planned(plan, list, choices))
	}
	return tables
}
