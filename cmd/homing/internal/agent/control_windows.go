package agent

import (
	"errors"
	"os"

	"golang.org/x/sys/windows/svc"
)

// serviceName is what `sc.exe create` is told in the help; Windows tells a process which runs alone its name anyway.
const serviceName = "homing-agent"

// underControl runs an agent under the service manager when that has started it, else in a console, where Ctrl-C stops
// it.
func underControl(run func(<-chan order) error) error {
	managed, err := svc.IsWindowsService()
	if err != nil {
		return err
	}
	if managed {
		s := &service{run: run}
		return errors.Join(svc.Run(serviceName, s), s.err)
	}
	return bySignals(run, map[os.Signal]order{os.Interrupt: orderStop})
}

// service is an agent as the service manager sees it: pause drains, continue serves.
type service struct {
	run func(<-chan order) error
	err error // of run, when Execute has returned
}

// Execute implements svc.Handler.
func (s *service) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	const accepts = svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPauseAndContinue
	status <- svc.Status{State: svc.StartPending}
	control := make(chan order)
	ended := make(chan error, 1)
	go func() { ended <- s.run(control) }()
	state := svc.Status{State: svc.Running, Accepts: accepts}
	status <- state
	for {
		select {
		case s.err = <-ended:
			if s.err != nil {
				return true, 1 // the log says why
			}
			return false, 0
		case request := <-requests:
			told := orderStop
			switch request.Cmd {
			case svc.Interrogate:
				status <- state
				continue
			case svc.Pause:
				told, state = orderDrain, svc.Status{State: svc.Paused, Accepts: accepts}
			case svc.Continue:
				told, state = orderServe, svc.Status{State: svc.Running, Accepts: accepts}
			case svc.Stop, svc.Shutdown:
				state = svc.Status{State: svc.StopPending}
			default:
				continue
			}
			status <- state
			select {
			case control <- told:
			case s.err = <-ended:
				return s.err != nil, 0
			}
		}
	}
}
