package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// idFile is the name of the file, in a state directory, that keeps a member's ID.
const idFile = "id"

// LoadID reads the member's ID from a state directory, which it makes with a new ID where there is none. A file that
// holds something else is an error: whoever wrote it should know.
func LoadID(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, idFile)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		id := NewID()
		return id, replaceFile(path, []byte(id+"\n"))
	case err != nil:
		return "", err
	}
	id := strings.TrimSpace(string(b))
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 8 {
		return "", fmt.Errorf("%s does not hold the name of a member: remove it, and a new one is drawn", path)
	}
	return id, nil
}

// NewID makes a random name for a member.
func NewID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}
