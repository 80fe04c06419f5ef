package proc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCPUCountsEveryThread(t *testing.T) {
	// The shell and its child each spin; a look at one of them alone would see half.
	p := script(t, "(while :; do :; done) & echo ready; while :; do :; done")
	self := os.Getpid()
	start, err := CPU(p.Tree())
	if err != nil {
		t.Fatal(err)
	}
	machine, err := LookAtMachine()
	if err != nil {
		t.Fatal(err)
	}
	mine, err := CPU([]int{self})
	if err != nil || mine <= 0 {
		t.Fatalf("this process has used %v: %v", mine, err)
	}
	const want = 200 * time.Millisecond
	deadline := time.Now().Add(patience)
	for {
		both, err := CPU(p.Tree())
		if err != nil {
			t.Fatal(err)
		}
		parent, err := CPU([]int{p.PID()})
		if err != nil {
			t.Fatal(err)
		}
		if both-start > want && parent < both {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("two processes that spin have used %v, the parent %v", both-start, parent)
		}
	}
	if after, err := LookAtMachine(); err != nil || after.Since(machine) < want/2 {
		t.Errorf("the machine has spent %v meanwhile: %v", after.Since(machine), err)
	}
	p.Kill()
	if _, err := CPU([]int{p.PID()}); err == nil {
		t.Error("the CPU time of a process that is gone was told")
	}
}

// A process of two threads, one of which has ended with 30 ms of CPU behind it.
func TestCPUKnowsThreadsThatHaveEnded(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, "1", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stat := func(user, system int) string {
		return fmt.Sprintf("1 (a) b) S 0 1 1 0 -1 0 0 0 0 0 %d %d 0 0 20 0 2%s\n", user, system, strings.Repeat(" 0", 32))
	}
	write("task/1/schedstat", "5500123 20 3\n")
	write("stat", stat(0, 0))
	if cpu, err := cpuOf(dir, 1); err != nil || cpu != 5500123 {
		t.Errorf("one thread, nothing in ticks: %v, %v", cpu, err)
	}
	write("stat", stat(2, 1))
	if cpu, err := cpuOf(dir, 1); err != nil || cpu != 30*time.Millisecond {
		t.Errorf("with 3 ticks of the process: %v, %v", cpu, err)
	}
	write("task/2/schedstat", "40000000 1 1\n")
	if cpu, err := cpuOf(dir, 1); err != nil || cpu != 45500123 {
		t.Errorf("two threads: %v, %v", cpu, err)
	}
	write("task/2/schedstat", "junk")
	if _, err := cpuOf(dir, 1); err == nil {
		t.Error("junk was taken for a time")
	}
}

func TestMachineIsBusyWhenItDoesNotIdle(t *testing.T) {
	const cpus = "cpu0 9 9 9 9 9 9 9 9 9 9\ncpu1 9 9 9 9 9 9 9 9 9 9\nintr 5\n"
	look := func(stat string) (Machine, error) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o600); err != nil {
			t.Fatal(err)
		}
		return lookAtMachine(dir)
	}
	m, err := look("cpu  1 2 4 1000 2000 8 16 5000 0 0\n" + cpus)
	if want := 8000 * tick; err != nil || m.idle != want || m.cpus != 2 {
		t.Errorf("%d CPUs idle for %v: %v, want %v", m.cpus, m.idle, err, want)
	}
	for _, bad := range []string{"", "intr 5", "cpu a b c d e f g h\n" + cpus, "cpu 1 2 4 1000 2000 8 16 5000 0 0\nintr 5"} {
		if _, err := look(bad); err == nil {
			t.Errorf("%q was taken for a clock", bad)
		}
	}
	now := time.Now()
	first := Machine{at: now, idle: 5 * time.Second, cpus: 2}
	for _, c := range []struct{ idle, want time.Duration }{{0, 6 * time.Second}, {5 * time.Second, time.Second}, {6 * time.Second, 0}, {6*time.Second + tick, 0}} {
		if got := (Machine{at: now.Add(3 * time.Second), idle: first.idle + c.idle, cpus: 2}).Since(first); got != c.want {
			t.Errorf("idle for %v: busy for %v, want %v", c.idle, got, c.want)
		}
	}
}

func TestMemoryOfThisProcess(t *testing.T) {
	before, err := Memory([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 32<<20)
	for i := range block {
		block[i] = byte(i) // touched, so that it is in memory
	}
	after, err := Memory([]int{os.Getpid()})
	if err != nil || after-before < int64(len(block))/2 || block[77] != 77 {
		t.Errorf("32 MiB more took memory from %d to %d: %v", before, after, err)
	}
	if _, err := Memory([]int{1 << 30}); err == nil {
		t.Error("the memory of a process that does not exist was told")
	}
}

func TestMaxFilesIsTheHardLimit(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if n, err := MaxFiles(); err != nil || uint64(n) != min(limit.Max, 1<<20) && uint64(n) != limit.Max {
		t.Errorf("%d files: %v, want %d", n, err, limit.Max)
	}
}

// procDir is a /proc with these files.
func procDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A thread that ended takes what it used with it, one that has begun brings all it used, and an ID that another thread has
// now is not what it was.
func TestTasksCountEveryThread(t *testing.T) {
	look := func(files map[string]string) Tasks {
		t.Helper()
		tasks, err := lookAtTasks(procDir(t, files), 5)
		if err != nil {
			t.Fatal(err)
		}
		return tasks
	}
	before := look(map[string]string{
		"1/task/1/schedstat": "100 5 1\n", "1/task/2/schedstat": "2000 5 1\n", "7/task/7/schedstat": "30000 5 1\n", "9/task/9/schedstat": "999999 5 1\n",
		"5/task/5/schedstat": "1 5 1\n",
	})
	before.before, before.after = 1_000_000, 3_000_000
	after := look(map[string]string{
		"1/task/1/schedstat": "101 6 2\n", "1/task/3/schedstat": "500 5 1\n", "7/task/7/schedstat": "30040 5 1\n", "9/task/9/schedstat": "2000 5 1\n",
		"11/stat": "", "5/task/5/schedstat": "2 5 1\n",
	})
	after.before, after.after = 3_070_000, 9_000_000
	if got, want := after.Since(before), 1+500+40+2000+70_000*time.Nanosecond; got != want { // and no look
		t.Errorf("%v, want %v", got, want)
	}
	after.own = 6 // the goroutine that looks has another thread now
	after.used[5] = 3_000_007
	if got, want := after.Since(before), 1+500+40+2000+7+3_070_000*time.Nanosecond; got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if _, err := lookAtTasks(procDir(t, map[string]string{"1/task/1/schedstat": "junk"}), 5); err == nil {
		t.Error("junk was taken for a time")
	}
}

func TestTasksKnowThisThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := LookAtTasks()
	if err != nil {
		t.Fatal(err)
	}
	const work = 2 * time.Millisecond // less than a tick
	self, start := Self(), Thread()
	for Thread()-start < work {
		runtime.Gosched()
	}
	after, err := LookAtTasks()
	if used := after.Since(before); err != nil || used < work {
		t.Errorf("this thread has worked for %v, all for %v: %v", work, used, err)
	}
	if used := Self() - self; used < work {
		t.Errorf("this process has worked for %v: %v", work, used)
	}
}

func TestContextSwitches(t *testing.T) {
	status := func(voluntary, involuntary int) string {
		return fmt.Sprintf("Name:\ta\nVmRSS:\t 12 kB\nvoluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t%d\n", voluntary, involuntary)
	}
	dir := procDir(t, map[string]string{
		"1/status": status(1, 1), "1/task/1/status": status(1, 1), "1/task/2/status": status(40, 20), "7/task/7/status": status(300, 0), "9/task/9/comm": "a",
	})
	if got, err := contextSwitches(dir, []int{1, 7}); err != nil || got != (Switches{341, 21}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := contextSwitches(dir, []int{9}); err != nil || got != (Switches{}) { // a thread that ended just now
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := contextSwitches(dir, []int{8}); err == nil {
		t.Error("the switches of a process that does not exist were told")
	}
}

// A process that sleeps again and again waits once each time.
func TestContextSwitchesOfASleeper(t *testing.T) {
	p := script(t, "echo ready; while :; do sleep 0.01; done")
	before, err := ContextSwitches([]int{p.PID()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := Until(ctx, func() (bool, error) {
		now, err := ContextSwitches([]int{p.PID()})
		return now.Voluntary-before.Voluntary >= 5, err
	}); err != nil {
		t.Error(err)
	}
}

func TestResidentOfThisProcess(t *testing.T) {
	pids := []int{os.Getpid()}
	resident, err := Resident(pids)
	if err != nil || resident < 1<<20 {
		t.Errorf("%d bytes: %v", resident, err)
	}
	if _, err := Resident([]int{1 << 30}); err == nil {
		t.Error("the memory of a process that does not exist was told")
	}
}
