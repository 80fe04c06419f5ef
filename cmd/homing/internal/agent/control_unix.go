//go:build !windows

package agent

import (
	"os"
	"syscall"
)

// underControl runs an agent that signals can stop, drain and put back into service.
func underControl(run func(<-chan order) error) error {
	return bySignals(run, map[os.Signal]order{
		syscall.SIGTERM: orderStop, syscall.SIGINT: orderStop, syscall.SIGUSR1: orderDrain, syscall.SIGUSR2: orderServe,
	})
}
