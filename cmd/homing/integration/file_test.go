package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"homing/bench/testkit"
)

// filed is a homing that runs by a configuration file, and the file.
type filed struct {
	*homing
	path string
}

// startFiled starts a homing with a file of the given text, which has a listener at addr.
func startFiled(tb testing.TB, addr, text string) *filed {
	tb.Helper()
	f := &filed{homing: &homing{addr: addr, admin: testkit.FreeAddr(tb)}, path: filepath.Join(tb.TempDir(), "homing.yaml")}
	f.write(tb, text)
	f.start(tb, "run", "--config", f.path, "--admin", f.admin, "--table-entries", "20000")
	return f
}

func (f *filed) write(tb testing.TB, text string) {
	tb.Helper()
	testkit.Check(tb, os.WriteFile(f.path, []byte(text), 0o600))
}

// reloads is how many reloads there were with a result.
func (f *filed) reloads(tb testing.TB, result string) float64 {
	tb.Helper()
	return f.metrics(tb)[`homing_reloads_total{result="`+result+`"}`]
}

// reload has the file read again, by SIGHUP or by the command, and waits until that has come to the given result. What the
// command said is returned.
func (f *filed) reload(tb testing.TB, bySignal bool, result string) string {
	tb.Helper()
	before, said := f.reloads(tb, result), ""
	if bySignal {
		testkit.Check(tb, f.proc.Signal(syscall.SIGHUP))
	} else {
		out, err := exec.CommandContext(tb.Context(), binary, "reload", "--admin", f.admin).CombinedOutput()
		if said = string(out); (err == nil) != (result == "applied") {
			tb.Fatalf("homing reload: %v, want it %s\n%s", err, result, out)
		}
	}
	if !testkit.Wait(testkit.Patience, func() bool { return f.reloads(tb, result) == before+1 }) {
		tb.Fatalf("no reload was %s within 10 s:\n%s", result, f.proc.Output())
	}
	return said
}

// fill puts values into a text that has names in capitals for them.
func fill(text string, values ...string) string { return strings.NewReplacer(values...).Replace(text) }
