package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"homing/bench/proc"
)

// using is an account of CPU time that has been opened and not closed.
type using struct {
	r       *run
	self    time.Duration
	machine time.Duration
	watched []time.Duration
}

// memory returns what this process and then the watched ones hold; 0 for one that is gone.
func (r *run) memory() []int64 {
	of := func(pids []int) int64 {
		n, err := proc.Memory(pids)
		if err != nil {
			return 0
		}
		return n
	}
	list := []int64{of([]int{os.Getpid()})}
	for _, w := range r.plan.Watch {
		list = append(list, of(w.PIDs))
	}
	return list
}

// startUse opens the account.
func (r *run) startUse() (*using, error) {
	u := &using{r: r}
	var err error
	if u.self, err = proc.CPU([]int{os.Getpid()}); err != nil {
		return nil, err
	}
	if u.machine, err = proc.MachineCPU(); err != nil {
		return nil, err
	}
	for _, w := range r.plan.Watch {
		cpu, err := proc.CPU(w.PIDs)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", w.Name, err)
		}
		u.watched = append(u.watched, cpu)
	}
	return u, nil
}

// end closes the account and puts it into the result. A watched process that has died meanwhile, as in Churn, has a
// warning instead of a figure.
func (u *using) end(res *Result) error {
	self, err := proc.CPU([]int{os.Getpid()})
	if err != nil {
		return err
	}
	machine, err := proc.MachineCPU()
	if err != nil {
		return err
	}
	before, then := u.r.memoryBefore, u.r.memoryThen
	res.Client = Use{Role: "client", Name: "homing-bench", CPU: self - u.self, Memory: then[0], Before: before[0]}
	res.Machine = Use{Role: "machine", CPU: machine - u.machine}
	for i, w := range u.r.plan.Watch {
		use := Use{Role: w.Role, Name: w.Name, Memory: then[i+1], Before: before[i+1]}
		if cpu, err := proc.CPU(w.PIDs); err == nil {
			use.CPU = cpu - u.watched[i]
		} else {
			res.Warnings = append(res.Warnings, fmt.Sprintf("%s ended during the run: its CPU time is not known.", w.Name))
		}
		res.Watched = append(res.Watched, use)
	}
	return nil
}

// thisHost describes the machine. What cannot be read is empty.
func thisHost() Host {
	h := Host{CPUs: runtime.NumCPU(), Go: runtime.Version(), Command: strings.Join(os.Args, " ")}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		h.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				h.Model = strings.TrimSpace(value)
				break
			}
		}
	}
	return h
}

// CPUPerConn is the CPU time per conn that was shaken hands for; 0 without one.
func (r *Result) CPUPerConn(u *Use) time.Duration {
	var conns int64
	for i := range r.Groups {
		conns += r.Groups[i].Shaken
	}
	if conns == 0 {
		return 0
	}
	return u.CPU / time.Duration(conns)
}
