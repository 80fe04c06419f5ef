//go:build linux

package balancer

import "homing/balancer/internal/netio"

// CheckTransparent says in one line why pools cannot be transparent in this process;
// nil: they can, as far as the process goes. The routing of the answers is another
// matter.
func CheckTransparent() error { return netio.CanBeForeign() }
