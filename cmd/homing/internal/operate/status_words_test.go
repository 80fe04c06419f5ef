//go:build linux

package operate

import (
	"strings"
	"testing"

	"homing/balancer"
	"homing/cmd/homing/internal/api"
)

// TestStatusWords: whatever is counted by reason is shown, also by whoever adds a reason.
func TestStatusWords(t *testing.T) {
	shown := func(totals api.Totals, word string) {
		t.Helper()
		p := statusPage{status: &api.Status{Totals: totals}}
		if text := p.render(); !strings.Contains(text, word+" 7\n") {
			t.Errorf("%q is not in\n%s", word, text)
		}
	}
	for lost := balancer.LostNone + 1; lost < balancer.NumLost; lost++ {
		shown(api.Totals{Lost: map[string]uint64{lost.String(): 7}}, lost.String())
	}
	for refused := balancer.RefusedNone + 1; refused < balancer.NumRefusals; refused++ {
		shown(api.Totals{Refused: map[string]uint64{refused.String(): 7}}, refused.String())
	}
}
