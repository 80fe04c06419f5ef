package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/procfs"

	"homing/bench/proc"
)

// watching is the account of one entry of Plan.Watch. Its processes may be taken down and others come up in their place.
type watching struct {
	Watched
	used time.Duration // by processes that have been taken down since startUse
	base time.Duration // what those of now had used at startUse; nothing if they came up later
}

// using is what this process, the machine and the watched processes have used, and hold.
type using struct {
	self    time.Duration // when the account was opened
	machine proc.Machine
	before  []int64 // memory, see hold
	then    []int64

	mu      sync.Mutex
	watched []*watching // guarded by mu: disturbances change them
}

func newUsing(p *Plan) *using {
	u := &using{}
	for _, w := range p.Watch {
		u.watched = append(u.watched, &watching{Watched: w})
	}
	u.before = u.hold()
	u.then = u.before
	return u
}

// hold returns what this process and then the watched ones hold; 0 for one that is gone.
func (u *using) hold() []int64 {
	of := func(pids []int) int64 {
		n, err := proc.Memory(pids)
		if err != nil {
			return 0
		}
		return n
	}
	list := []int64{of([]int{os.Getpid()})}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range u.watched {
		list = append(list, of(w.PIDs))
	}
	return list
}

// open opens the account of CPU time.
func (u *using) open() error {
	var err error
	if u.self, err = proc.CPU([]int{os.Getpid()}); err != nil {
		return err
	}
	if u.machine, err = proc.LookAtMachine(); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range u.watched {
		if w.base, err = proc.CPU(w.PIDs); err != nil {
			return fmt.Errorf("watch %s: %w", w.Name, err)
		}
	}
	return nil
}

// leave books what the processes of a name have used, just before they are taken down. Those that are gone already stay
// where they are, and end says so.
func (u *using) leave(who string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range u.watched {
		if w.Name != who {
			continue
		}
		if cpu, err := proc.CPU(w.PIDs); err == nil {
			w.used, w.base, w.PIDs = w.used+cpu-w.base, 0, nil
		}
	}
}

// enter takes in the processes that a name has now. What their start has cost counts.
func (u *using) enter(who string, pids []int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range u.watched {
		if w.Name == who {
			w.PIDs = pids
		}
	}
}

// end closes the account and puts it into the result. A watched process that has died by itself, or was killed by what
// tells nothing of it, has a warning instead of a figure.
func (u *using) end(res *Result) error {
	self, err := proc.CPU([]int{os.Getpid()})
	if err != nil {
		return err
	}
	machine, err := proc.LookAtMachine()
	if err != nil {
		return err
	}
	res.Client = Use{Role: "client", Name: "homing-bench", CPU: self - u.self, Memory: u.then[0], Before: u.before[0]}
	res.Machine = Use{Role: "machine", CPU: machine.Since(u.machine)}
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, w := range u.watched {
		use := Use{Role: w.Role, Name: w.Name, Memory: u.then[i+1], Before: u.before[i+1]}
		if cpu, err := proc.CPU(w.PIDs); err == nil {
			use.CPU = w.used + cpu - w.base
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
	if fs, err := procfs.NewDefaultFS(); err == nil {
		if cpus, err := fs.CPUInfo(); err == nil && len(cpus) > 0 {
			h.Model = cpus[0].ModelName
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
