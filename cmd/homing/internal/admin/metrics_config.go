package admin

import "time"

// ConfigState is what is known of the configuration that holds.
type ConfigState struct {
	Hash             string    // tells it from others
	Since            time.Time // when it was taken over; the start, or the last reload
	Applied, Refused uint64    // reloads
}

// configMetrics say which configuration holds, and what became of reloads.
func configMetrics() []metric {
	each := func(read func(state ConfigState, out emit)) func(*sample, emit) {
		return func(s *sample, out emit) {
			if s.src.Config != nil {
				read(s.src.Config(), out)
			}
		}
	}
	return []metric{
		{"homing_config_info", gauge, []string{"hash"}, "Always 1; the label tells the configuration that holds from others.", each(func(state ConfigState, out emit) {
			out(1, state.Hash)
		})},
		{"homing_config_timestamp_seconds", gauge, nil, "When it was taken over, at the start or by the last reload, in Unix time.", each(func(state ConfigState, out emit) {
			out(float64(state.Since.UnixMilli()) / 1000)
		})},
		{"homing_reloads_total", counter, []string{"result"}, "Reloads; a refused one has changed nothing.", each(func(state ConfigState, out emit) {
			out(float64(state.Applied), "applied")
			out(float64(state.Refused), "refused")
		})},
	}
}
