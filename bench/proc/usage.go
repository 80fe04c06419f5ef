package proc

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// tick is the unit of CPU times in /proc/PID/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPU returns the CPU time that the processes have used since they started, user and system. It is exact to the
// nanosecond while their threads live; of threads that have ended it knows to 20 ms. A process that is gone is an error.
func CPU(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		cpu, err := cpuOf(procfs.DefaultMountPoint, pid)
		if err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		sum += cpu
	}
	return sum, nil
}

// cpuOf reads one process's accounts below /proc. There are two: schedstat per thread, in nanoseconds, without the
// threads that have ended, and stat of the process, with them, rounded down to ticks. Neither is ever above the truth, so
// the greater one is nearer to it.
func cpuOf(mount string, pid int) (time.Duration, error) {
	fs, err := procfs.NewFS(mount)
	if err != nil {
		return 0, err
	}
	p, err := fs.Proc(pid)
	if err != nil {
		return 0, err
	}
	var exact time.Duration
	if err := ofThreads(fs, pid, func(_ int, cpu time.Duration) { exact += cpu }); err != nil {
		return 0, err
	}
	s, err := p.Stat()
	if err != nil {
		return 0, err
	}
	return max(exact, time.Duration(s.UTime+s.STime)*tick), nil // within 292 years of CPU time
}

// ofThreads calls each with what schedstat says, in nanoseconds, of the threads that a process has now.
func ofThreads(fs procfs.FS, pid int, each func(tid int, cpu time.Duration)) error {
	threads, err := fs.AllThreads(pid)
	if err != nil {
		return err
	}
	for _, t := range threads {
		s, err := t.Schedstat()
		if isGone(err) {
			continue
		}
		if err != nil {
			return err
		}
		each(t.PID, time.Duration(s.RunningNanoseconds)) // within 292 years of CPU time
	}
	return nil
}

// isGone reports whether an error says that a process or a thread has ended.
func isGone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// Tasks is what each thread on the machine has used, those of the kernel included, at one moment.
type Tasks struct {
	used map[int]time.Duration // by thread ID, without the one that looked
	own  int                   // which that is
	// What it had used before it looked, and when it had done so: the look itself is no part of what is between two looks.
	before, after time.Duration
}

// LookAtTasks reads the accounts of all threads.
func LookAtTasks() (Tasks, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := Thread()
	t, err := lookAtTasks(procfs.DefaultMountPoint, unix.Gettid())
	t.before, t.after = before, Thread()
	return t, err
}

func lookAtTasks(mount string, own int) (Tasks, error) {
	t := Tasks{used: map[int]time.Duration{}, own: own}
	fs, err := procfs.NewFS(mount)
	if err != nil {
		return t, err
	}
	all, err := fs.AllProcs()
	if err != nil {
		return t, err
	}
	for _, p := range all {
		err := ofThreads(fs, p.PID, func(tid int, cpu time.Duration) {
			if tid != own {
				t.used[tid] = cpu
			}
		})
		if err != nil && !isGone(err) {
			return t, fmt.Errorf("CPU time of process %d: %w", p.PID, err)
		}
	}
	return t, nil
}

// Since returns the CPU time that all threads have used since an earlier look, to the nanosecond: where Machine tells of
// 10 ms, it tells of one conn's work. Not in it are threads that have ended meanwhile, interrupts that come to an idle CPU,
// and, of another thread that runs just now, what it has used since the last tick.
func (t Tasks) Since(earlier Tasks) time.Duration {
	then := maps.Clone(earlier.used)
	then[earlier.own] = earlier.after
	now := maps.Clone(t.used)
	now[t.own] = t.before
	var sum time.Duration
	for tid, cpu := range now {
		before := then[tid]
		if before > cpu { // another one has its ID now
			before = 0
		}
		sum += cpu - before
	}
	return sum
}

// Thread returns the CPU time that the calling thread has used since it started, to the nanosecond. The goroutine has to be
// bound to it.
func Thread() time.Duration { return clock(unix.CLOCK_THREAD_CPUTIME_ID) }

// Self returns the CPU time that this process has used since it started, threads that have ended included, to the nanosecond.
func Self() time.Duration { return clock(unix.CLOCK_PROCESS_CPUTIME_ID) }

func clock(id int32) time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(id, &ts) // every kernel has these
	return time.Duration(ts.Nano())
}

// Switches counts context switches.
type Switches struct {
	Voluntary   int64 // a thread had nothing more to do, and waited: it has been woken as often
	Involuntary int64 // a thread had more to do, and another one was given its CPU
}

// ContextSwitches returns how often the threads that the processes have now gave up a CPU since they started. A process
// that is gone is an error.
func ContextSwitches(pids []int) (Switches, error) {
	return contextSwitches(procfs.DefaultMountPoint, pids)
}

func contextSwitches(mount string, pids []int) (Switches, error) {
	fs, err := procfs.NewFS(mount)
	if err != nil {
		return Switches{}, err
	}
	var sum Switches
	for _, pid := range pids {
		threads, err := fs.AllThreads(pid)
		if err != nil {
			return Switches{}, fmt.Errorf("context switches of process %d: %w", pid, err)
		}
		for _, t := range threads {
			s, err := t.NewStatus()
			if isGone(err) {
				continue
			}
			if err != nil {
				return Switches{}, fmt.Errorf("context switches of process %d: %w", pid, err)
			}
			sum.Voluntary += int64(s.VoluntaryCtxtSwitches) // no machine switches as often
			sum.Involuntary += int64(s.NonVoluntaryCtxtSwitches)
		}
	}
	return sum, nil
}

// Machine is what all CPUs of the machine have been doing, at one moment.
type Machine struct {
	at   time.Time
	idle time.Duration // all CPUs together: nothing to do, waiting for a disk, or taken by another virtual machine
	cpus int
}

// LookAtMachine reads the account of the machine.
func LookAtMachine() (Machine, error) { return lookAtMachine(procfs.DefaultMountPoint) }

func lookAtMachine(mount string) (Machine, error) {
	fs, err := procfs.NewFS(mount)
	if err != nil {
		return Machine{}, err
	}
	s, err := fs.Stat()
	if err != nil {
		return Machine{}, err
	}
	if len(s.CPU) == 0 {
		return Machine{}, fmt.Errorf("%s/stat tells of no CPU", mount)
	}
	idle := s.CPUTotal.Idle + s.CPUTotal.Iowait + s.CPUTotal.Steal // in seconds
	return Machine{at: time.Now(), idle: time.Duration(idle * float64(time.Second)), cpus: len(s.CPU)}, nil
}

// Since returns the CPU time that the whole machine has spent on work since an earlier look, of all processes and of
// interrupts, to 10 ms. It is what is left of the CPUs' time: the kernel keeps the time in which a CPU idles to the
// nanosecond, but that of work, on most distributions, by asking at each tick what it is at; work that a timer begins is
// there at every tick or at none.
func (m Machine) Since(earlier Machine) time.Duration {
	return max(0, m.at.Sub(earlier.at)*time.Duration(m.cpus)-(m.idle-earlier.idle))
}

// Memory returns the memory of the processes in bytes: proportional set size, which counts a page shared by n processes
// as 1/n, or the resident set where the kernel does not tell it.
func Memory(pids []int) (int64, error) {
	var sum uint64
	for _, pid := range pids {
		p, err := procfs.NewProc(pid)
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		if maps, err := p.ProcSMapsRollup(); err == nil {
			sum += maps.Pss
			continue
		}
		status, err := p.NewStatus()
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		sum += status.VmRSS
	}
	return int64(sum), nil // no machine has as much
}

// Resident returns the resident sets of the processes in bytes (VmRSS), a page that several share counted for each of them.
func Resident(pids []int) (int64, error) {
	var sum uint64
	for _, pid := range pids {
		p, err := procfs.NewProc(pid)
		if err != nil {
			return 0, fmt.Errorf("resident set of process %d: %w", pid, err)
		}
		s, err := p.NewStatus()
		if err != nil {
			return 0, fmt.Errorf("resident set of process %d: %w", pid, err)
		}
		sum += s.VmRSS
	}
	return int64(sum), nil // no machine has as much
}

// Tree returns a process and all its descendants.
func Tree(root int) []int {
	list := []int{root}
	all, err := procfs.AllProcs()
	if err != nil {
		return list
	}
	children := map[int][]int{}
	for _, p := range all {
		if s, err := p.Stat(); err == nil && s.State != "Z" { // else it is gone
			children[s.PPID] = append(children[s.PPID], p.PID)
		}
	}
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list
}

func alive(pid int) bool {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	s, err := p.Stat()
	return err == nil && s.State != "X" && s.State != "Z"
}

func anyAlive(pids []int) bool { return slices.ContainsFunc(pids, alive) }

// MaxFiles is how many files a process of this user may have open at most: the hard limit, which whoever starts inherits.
func MaxFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Max > 1<<30 { // unlimited
		return 1 << 20, nil
	}
	return int(limit.Max), nil
}
