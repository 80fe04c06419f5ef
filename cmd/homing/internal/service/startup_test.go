//go:build linux

package service

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"homing/bench/testkit"
)

func TestReadOnly(t *testing.T) {
	const maps = `00400000-00cf3000 r-xp 00000000 fd:00 1234                               /usr/sbin/homing
00cf3000-0153c000 r--p 008f3000 fd:00 1234                               /usr/sbin/homing
016b2000-0171f000 rw-p 012b2000 fd:00 1234                               /usr/sbin/homing
0171f000-03766000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r--p 00000000 fd:00 1235                       /usr/sbin/homing-bench
7f0000002000-7f0000003000 r--p 00000000 fd:00 1236                       /opt/usr/sbin/homing
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
`
	var got []uintptr
	for from, to := range readOnly([]byte(maps), "/usr/sbin/homing") {
		got = append(got, from, to)
	}
	if want := []uintptr{0x400000, 0xcf3000, 0xcf3000, 0x153c000}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// What is given back of the program's pages is taken again as it is used, and the program goes on.
func TestForgetStart(t *testing.T) {
	before := residentFile(t)
	forgetStart()
	if after := residentFile(t); !traced() && after >= before {
		t.Errorf("%d kB of files were resident, and %d are", before, after)
	}
}

// residentFile is how much of files is mapped and resident, in kB (RssFile, and RssShmem for a program on a tmpfs; proc(5)).
func residentFile(t *testing.T) (kB int) {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	testkit.Check(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); fields[0] == "RssFile:" || fields[0] == "RssShmem:" {
			n, err := strconv.Atoi(fields[1])
			testkit.Check(t, err)
			kB += n
		}
	}
	return kB
}
