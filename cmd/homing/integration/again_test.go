package integration

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"testing"

	"homing/bench/testkit"
)

// again starts this binary once more, as what TestMain makes of the variable, with descriptors and a scheduler of its own.
// It takes commands on its input, by whose end it ends too, and answers in lines.
func again(t *testing.T, variable string) (in io.Writer, out *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	testkit.Check(t, err)
	stdout, err := cmd.StdoutPipe()
	testkit.Check(t, err)
	testkit.Check(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil && !t.Failed() {
			t.Errorf("%s: %v", variable, err)
		}
	})
	return stdin, bufio.NewScanner(stdout)
}
