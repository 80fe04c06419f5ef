package proc

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
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
	threads, err := fs.AllThreads(pid)
	if err != nil {
		return 0, err
	}
	var exact time.Duration
	for _, t := range threads {
		s, err := t.Schedstat()
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // ended just now: stat has it
		}
		if err != nil {
			return 0, err
		}
		exact += time.Duration(s.RunningNanoseconds) // within 292 years of CPU time
	}
	s, err := p.Stat()
	if err != nil {
		return 0, err
	}
	return max(exact, time.Duration(s.UTime+s.STime)*tick), nil // likewise
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
