package proc

import (
	"os/exec"
	"path/filepath"
)

// Find returns the absolute path of a program, or exec.ErrNotFound. Debian keeps servers in /usr/sbin, which is not on the
// PATH of an ordinary user, so that it is asked too.
func Find(name string) (string, error) {
	for _, candidate := range []string{name, filepath.Join("/usr/sbin", name), filepath.Join("/usr/local/sbin", name)} {
		if path, err := exec.LookPath(candidate); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", exec.ErrNotFound
}
