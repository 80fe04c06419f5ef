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
	used account // by processes that have been taken down since startUse
	base account // what those of now had used at startUse; nothing if they came up later
}

// account is what processes have used since they started.
type account struct {
	cpu time.Duration
	proc.Switches
}

func accountOf(pids []int) (account, error) {
	cpu, err := proc.CPU(pids)
	if err != nil {
		return account{}, err
	}
	switches, err := proc.ContextSwitches(pids)
	return account{cpu, switches}, err
}

// plus adds what was used between two looks at the same processes.
func (a account) plus(now, then account) account {
	a.cpu += now.cpu - then.cpu
	a.Voluntary += now.Voluntary - then.Voluntary
	a.Involuntary += now.Involuntary - then.Involuntary
	return a
}

// footprint is the memory of processes: proc.Memory and proc.Resident; 0 for what is gone.
type footprint struct{ memory, resident int64 }

// using is what this process, the machine and the watched processes have used, and hold.
type using struct {
	self    time.Duration // when the account was opened
	machine proc.Machine
	tasks   proc.Tasks
	before  []footprint // see hold
	then    []footprint

	// What looking at others has cost this process since the account of tasks was opened, and by when that of self was:
	// work for the kernel, the more of it the more threads they have, and no part of a run.
	looking, looked time.Duration

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

// look counts what it costs to look at others.
func (u *using) look() (done func()) {
	runtime.LockOSThread()
	start := proc.Thread()
	return func() {
		u.looking += proc.Thread() - start
		runtime.UnlockOSThread()
	}
}

// hold returns what this process and then the watched ones hold.
func (u *using) hold() []footprint {
	defer u.look()()
	of := func(pids []int) footprint {
		memory, err := proc.Memory(pids)
		if err != nil {
			return footprint{}
		}
		resident, err := proc.Resident(pids)
		if err != nil {
			return footprint{}
		}
		return footprint{memory, resident}
	}
	list := []footprint{of([]int{os.Getpid()})}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range u.watched {
		list = append(list, of(w.PIDs))
	}
	return list
}

// open opens the accounts, and end closes them in the opposite order.
func (u *using) open() error {
	var err error
	if u.tasks, err = proc.LookAtTasks(); err != nil {
		return err
	}
	u.looking = 0
	if err = u.openWatched(); err != nil {
		return err
	}
	u.looked = u.looking
	if u.machine, err = proc.LookAtMachine(); err != nil {
		return err
	}
	u.self = proc.Self()
	return nil
}

func (u *using) openWatched() (err error) {
	defer u.look()()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range u.watched {
		if w.base, err = accountOf(w.PIDs); err != nil {
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
		if now, err := accountOf(w.PIDs); err == nil {
			w.used, w.base, w.PIDs = w.used.plus(now, w.base), account{}, nil
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
	self, looking := proc.Self()-u.self, u.looking-u.looked
	machine, err := proc.LookAtMachine()
	if err != nil {
		return err
	}
	res.Client = Use{Role: "client", Name: "homing-bench", CPU: self - looking, Memory: u.then[0].memory, Before: u.before[0].memory}
	res.Machine = Use{Role: "machine", CPU: max(0, machine.Since(u.machine)-looking)}
	u.endWatched(res)
	tasks, err := proc.LookAtTasks()
	if err != nil {
		return err
	}
	res.Tasks = tasks.Since(u.tasks) - u.looking
	return nil
}

func (u *using) endWatched(res *Result) {
	defer u.look()()
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, w := range u.watched {
		then := u.then[i+1]
		use := Use{Role: w.Role, Name: w.Name, Memory: then.memory, Before: u.before[i+1].memory, Resident: then.resident}
		if now, err := accountOf(w.PIDs); err == nil {
			used := w.used.plus(now, w.base)
			use.CPU, use.Voluntary, use.Involuntary = used.cpu, used.Voluntary, used.Involuntary
		} else {
			res.Warnings = append(res.Warnings, fmt.Sprintf("%s ended during the run: its CPU time is not known.", w.Name))
		}
		res.Watched = append(res.Watched, use)
	}
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
