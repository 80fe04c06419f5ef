package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc/PID/stat and /proc/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPU returns the CPU time that the processes have used since they started, user and system. It is exact to the
// nanosecond while their threads live; of threads that have ended it knows to 20 ms. A process that is gone is an error.
func CPU(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		cpu, err := cpuOf(filepath.Join("/proc", strconv.Itoa(pid)))
		if err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		sum += cpu
	}
	return sum, nil
}

// cpuOf reads one process's directory of /proc. There are two accounts: schedstat per thread, in nanoseconds, without
// the threads that have ended, and stat of the process, with them, rounded down to ticks. Neither is ever above the
// truth, so the greater one is nearer to it.
func cpuOf(dir string) (time.Duration, error) {
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*", "schedstat"))
	if err != nil {
		return 0, err
	}
	var exact time.Duration
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // ended just now: stat has it
		}
		if err != nil {
			return 0, err
		}
		ns, err := firstInt(string(b))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		exact += time.Duration(ns)
	}
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, err
	}
	f := statFields(b)
	if len(f) < 13 {
		return 0, fmt.Errorf("%s has %d fields after the name, not 13", filepath.Join(dir, "stat"), len(f))
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64) // utime and stime, fields 14 and 15 of proc(5)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	return max(exact, time.Duration(user+system)*tick), nil
}

// Machine is what all CPUs of the machine have been doing, at one moment.
type Machine struct {
	at   time.Time
	idle time.Duration // all CPUs together: nothing to do, waiting for a disk, or taken by another virtual machine
	cpus int
}

// LookAtMachine reads the account of the machine.
func LookAtMachine() (Machine, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, err
	}
	m := Machine{at: time.Now()}
	m.idle, m.cpus, err = idle(string(b))
	return m, err
}

// Since returns the CPU time that the whole machine has spent on work since an earlier look, of all processes and of
// interrupts, to 10 ms. It is what is left of the CPUs' time: the kernel keeps the time in which a CPU idles to the
// nanosecond, but that of work, on most distributions, by asking at each tick what it is at; work that a timer begins is
// there at every tick or at none.
func (m Machine) Since(earlier Machine) time.Duration {
	return max(0, m.at.Sub(earlier.at)*time.Duration(m.cpus)-(m.idle-earlier.idle))
}

// idle sums what is no work in the first line of /proc/stat: user nice system idle iowait irq softirq steal. The lines
// cpu0, cpu1 and so on that follow are the CPUs.
func idle(stat string) (sum time.Duration, cpus int, err error) {
	for line := range strings.Lines(stat) {
		f := strings.Fields(line)
		if len(f) == 0 || !strings.HasPrefix(f[0], "cpu") {
			break
		}
		if f[0] != "cpu" {
			cpus++
			continue
		}
		if len(f) < 9 {
			break
		}
		for _, i := range []int{4, 5, 8} {
			n, err := strconv.ParseInt(f[i], 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("/proc/stat: %w", err)
			}
			sum += time.Duration(n) * tick
		}
	}
	if cpus == 0 {
		return 0, 0, fmt.Errorf("/proc/stat begins with %.40q, not with the sum of all CPUs", stat)
	}
	return sum, cpus, nil
}

// Memory returns the memory of the processes in bytes: proportional set size, which counts a page shared by n processes
// as 1/n, or the resident set where the kernel does not tell it.
func Memory(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		n, err := kilobytes(filepath.Join(dir, "smaps_rollup"), "Pss:")
		if err != nil {
			n, err = kilobytes(filepath.Join(dir, "status"), "VmRSS:")
		}
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		sum += n << 10
	}
	return sum, nil
}

// kilobytes finds the line of a file that begins with the name, as in "Pss:  1234 kB".
func kilobytes(path, name string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return firstInt(strings.TrimSpace(rest))
		}
	}
	return 0, fmt.Errorf("%s has no line %s", path, name)
}

func firstInt(s string) (int64, error) {
	f := strings.Fields(s)
	if len(f) == 0 {
		return 0, errors.New("empty")
	}
	return strconv.ParseInt(f[0], 10, 64)
}

// Tree returns a process and all its descendants.
func Tree(root int) []int {
	list := []int{root}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return list
	}
	children := map[int][]int{}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if parent, state := statOf(pid); state != 'Z' {
				children[parent] = append(children[parent], pid)
			}
		}
	}
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list
}

func alive(pid int) bool {
	_, state := statOf(pid)
	return state != 'X' && state != 'Z'
}

func anyAlive(pids []int) bool { return slices.ContainsFunc(pids, alive) }

// statOf reads the parent and the state letter of a process; 0 and 'X' when there is none.
func statOf(pid int) (parent int, state byte) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 'X'
	}
	f := statFields(b)
	if len(f) < 2 {
		return 0, 'X'
	}
	parent, _ = strconv.Atoi(f[1])
	return parent, f[0][0]
}

// statFields splits /proc/PID/stat behind the name: "pid (name) state ppid ...", where the name may hold spaces and
// brackets. Field n of proc(5) has index n-3.
func statFields(b []byte) []string {
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// MaxFiles is how many files a process of this user may have open at most: the hard limit, which whoever starts inherits.
func MaxFiles() (int, error) {
	const path = "/proc/self/limits"
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			f := strings.Fields(rest) // soft, hard, "files"
			if len(f) < 2 {
				break
			}
			if f[1] == "unlimited" {
				return 1 << 20, nil
			}
			return strconv.Atoi(f[1])
		}
	}
	return 0, fmt.Errorf("%s does not tell the limit of open files", path)
}
