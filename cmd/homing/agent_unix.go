//go:build !windows

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// underControl runs an agent that signals can stop, drain and put back into service.
func underControl(run func(<-chan agentOrder) error) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	control := make(chan agentOrder)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-ended:
				return
			case s := <-signals:
				order := orderStop
				switch s {
				case syscall.SIGUSR1:
					order = orderDrain
				case syscall.SIGUSR2:
					order = orderServe
				}
				select {
				case control <- order:
				case <-ended:
					return
				}
			}
		}
	}()
	return run(control)
}
