//go:build linux

package balancer

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
)

// An address that is in use is asked for again, and no other error is waited for.
func TestPatiently(t *testing.T) {
	t.Parallel()
	inUse := fmt.Errorf("bind: %w", syscall.EADDRINUSE)
	for _, tt := range []struct {
		name  string
		errs  []error // of the calls, in order; the last one stays
		calls int     // 0: many
	}{
		{"free", []error{nil}, 1},
		{"of one who has just gone", []error{inUse, inUse, nil}, 3},
		{"forbidden", []error{inUse, syscall.EACCES}, 2},
		{"taken", []error{inUse}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			fd, err := patiently(func() (int, error) {
				calls++
				return 70 + calls, tt.errs[min(calls, len(tt.errs))-1]
			})
			if want := tt.errs[len(tt.errs)-1]; !errors.Is(err, want) || fd != 70+calls {
				t.Errorf("got %d, %v, want %v", fd, err, want)
			}
			if tt.calls != 0 && calls != tt.calls || tt.calls == 0 && calls < 3 {
				t.Errorf("%d calls, want %d", calls, tt.calls)
			}
		})
	}
}
