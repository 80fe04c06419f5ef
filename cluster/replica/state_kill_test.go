package replica

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

// What the process that is to be killed is told by its environment.
const (
	killDir    = "HOMING_KILL_DIR"    // its state directory
	killMemory = "HOMING_KILL_MEMORY" // its tmpfs directory
)

const killSessions = 5000

// TestKilledProcess is that process: it learns, says so, and waits for the end.
func TestKilledProcess(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("is started by the others")
	}
	memory := os.Getenv(killMemory)
	state, err := OpenStateDir(StateDirConfig{Dir: dir, KeysOnly: memory != ""})
	if err != nil {
		t.Fatal(err)
	}
	store, _ := runStore(t, affinity.Config{Memory: memory})
	for i := range killSessions {
		store.Pool(1).IssuedID(sessionKey(i), uint32(1+i%9), now())
	}
	teach(t, store)
	go state.Run(t.Context(), store)
	testkit.Eventually(t, "written", func() bool { return state.Stats().Writes > 0 })
	fmt.Println("learned")
	select {} // until kill -9
}

// killed starts that process and kills it once it has learned.
func killed(t *testing.T, dir, memory string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledProcess$")
	cmd.Env = append(os.Environ(), killDir+"="+dir, killMemory+"="+memory)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	cmd.Wait() //nolint:errcheck // it was killed
	if err != nil || line != "learned\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
}

// TestKillNine: after kill -9 all is known again, from the disk alone, and from a tmpfs with the ticket keys from the
// disk.
func TestKillNine(t *testing.T) {
	for _, where := range []string{"disk", "tmpfs"} {
		t.Run(where, func(t *testing.T) {
			dir, memory := t.TempDir(), ""
			if where == "tmpfs" {
				temp, err := os.MkdirTemp("/dev/shm", "homing-test-")
				if err != nil {
					t.Skip("no tmpfs:", err)
				}
				defer os.RemoveAll(temp)
				memory = filepath.Join(temp, "tables")
			}
			killed(t, dir, memory)
			state, log := openState(t, dir)
			store, _ := runStore(t,
				affinity.Config{Memory: memory, Seed: state.Seed().Value, SeedMade: state.Seed().Made})
			if store.Seed() != state.Seed() {
				t.Fatalf("seeds %v, %v", store.Seed(), state.Seed())
			}
			state.Load(t.Context(), store)
			n := testNode{store: store, pool: store.Pool(1)}
			if got := n.knows(0, killSessions); got < killSessions*99/100 {
				t.Errorf("%d of %d sessions: %s", got, killSessions, log)
			}
			key := n.pool.HashIdent([]byte("name of 16 bytes" + string(make([]byte, 100))))
			testkit.Eventually(t, "the ticket key", func() bool { _, ok := n.pool.TicketKey(key, 4, now()); return ok })
		})
	}
}
