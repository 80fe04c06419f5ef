package agent

import (
	"context"
	"maps"
	"os"
	"os/signal"
	"slices"

	"homing/cmd/homing/internal/task"
)

// order is what an operator, or the system, tells an agent.
type order uint8

const (
	orderDrain order = iota
	orderServe
	orderStop
)

func (o order) String() string { return [...]string{"drain", "serve", "stop"}[o] }

// bySignals runs an agent that gets its orders by signals.
func bySignals(run func(<-chan order) error, orders map[os.Signal]order) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, slices.Collect(maps.Keys(orders))...)
	defer signal.Stop(signals)
	control := make(chan order)
	defer task.Start(context.Background(), func(ctx context.Context) {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				select {
				case <-ctx.Done():
					return
				case control <- orders[s]:
				}
			}
		}
	}).Stop()
	return run(control)
}
