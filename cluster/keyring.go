package cluster

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf16"

	"github.com/hashicorp/memberlist"
)

const (
	// KeyBytes is the size of every key of a cluster: AES-256 for gossip.
	KeyBytes = 32

	// MaxKeys bounds a keyring: the old key, the new one, and room for a rotation that was begun twice.
	MaxKeys = 4
)

// Errors of changes to a Keyring.
var (
	ErrKeyUnknown = errors.New("the key is not in the ring: add it first")
	ErrKeyInUse   = errors.New("the key is the one in use: use another first")
	ErrRingFull   = fmt.Errorf("the ring holds %d keys already: remove one first", MaxKeys)
)

// NewKey makes a random key.
func NewKey() []byte {
	key := make([]byte, KeyBytes)
	_, _ = rand.Read(key) // it never fails
	return key
}

// FormatKey writes a key as a line of a key file.
func FormatKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// ParseKey reads one line of a key file. The error does not repeat the line, which may be a secret with a typing error.
func ParseKey(line string) ([]byte, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(line))
	if err != nil || len(key) != KeyBytes {
		return nil, fmt.Errorf("not a key: %d bytes in base64 are one, as `homing keygen` prints them", KeyBytes)
	}
	return key, nil
}

// LoadKeys reads a key file: one key per line, the one in use first; empty lines and lines that begin with # are passed
// over. open says that others than the owner may read the file.
func LoadKeys(path string) (keys [][]byte, open bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, false, err
	}
	text, err := keyText(file)
	if err != nil {
		return nil, false, fmt.Errorf("%s %w", path, err)
	}
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := ParseKey(line)
		if err != nil {
			return nil, false, fmt.Errorf("%s line %d is %w", path, n+1, err)
		}
		if slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
			return nil, false, fmt.Errorf("%s line %d is a key that stands above already: leave one out", path, n+1)
		}
		keys = append(keys, key)
	}
	switch {
	case len(keys) == 0:
		return nil, false, fmt.Errorf("%s holds no key: `homing keygen` prints one", path)
	case len(keys) > MaxKeys:
		return nil, false, fmt.Errorf("%s holds %d keys: leave at most %d", path, len(keys), MaxKeys)
	}
	return keys, worldReadable(info.Mode()), nil
}

// maxKeyFile bounds a key file, in bytes: MaxKeys keys are 200, the rest is comments.
const maxKeyFile = 64 << 10

// keyText is a key file's text. On Windows a redirection writes UTF-16 (PowerShell's own) and an editor may put a byte
// order mark before UTF-8: both are taken for what they are.
func keyText(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot be read: %w", err)
	case len(b) > maxKeyFile:
		return "", fmt.Errorf("has more than %d bytes: it is no key file", maxKeyFile)
	}
	if rest, marked := bytes.CutPrefix(b, []byte("\xef\xbb\xbf")); marked {
		return string(rest), nil
	}
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(b, []byte("\xfe\xff")):
		order = binary.BigEndian
	case bytes.IndexByte(b, 0) >= 0:
		return "", errors.New("is no text in ASCII or UTF-8, it looks like UTF-16 without a byte order mark: " +
			"save it as UTF-8")
	default:
		return string(b), nil
	}
	if len(b)%2 != 0 {
		return "", errors.New("is UTF-16 that ends in the middle of a character: save it as UTF-8")
	}
	units := make([]uint16, 0, len(b)/2)
	for b = b[2:]; len(b) > 0; b = b[2:] {
		units = append(units, order.Uint16(b))
	}
	return string(utf16.Decode(units)), nil
}

// worldReadable says that the mode lets others than the owner read. On Windows modes say nothing, and Perm is 0666 for
// every file that can be written.
func worldReadable(mode fs.FileMode) bool { return os.PathSeparator == '/' && mode.Perm()&0o077 != 0 }

// SaveKeys writes a key file: whole or not at all, readable by the owner only.
func SaveKeys(path string, keys [][]byte) error {
	var text bytes.Buffer
	for _, key := range keys {
		fmt.Fprintln(&text, FormatKey(key))
	}
	return replaceFile(path, text.Bytes())
}

// replaceFile writes a file whole or not at all, readable by the owner only.
func replaceFile(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// PrintOf names a key without telling it: the first 8 bytes of its SHA-256, behind a word of our own.
func PrintOf(key []byte) KeyPrint {
	sum := sha256.Sum256(append([]byte("homing key print\x00"), key...))
	return KeyPrint(sum[:])
}

func (p KeyPrint) String() string { return hex.EncodeToString(p[:]) }

// Keyring is the gossip keys that a member trusts. Its methods may be called by any goroutine.
type Keyring struct {
	mu   sync.Mutex // held while the ring changes
	ring *memberlist.Keyring
}

// NewKeyring makes a ring of 1 to MaxKeys keys; the first encrypts.
func NewKeyring(keys [][]byte) (*Keyring, error) {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return nil, fmt.Errorf("cluster: %d keys, not 1 to %d", len(keys), MaxKeys)
	}
	for _, key := range keys {
		if len(key) != KeyBytes {
			return nil, fmt.Errorf("cluster: a key of %d bytes, not %d", len(key), KeyBytes)
		}
	}
	ring, err := memberlist.NewKeyring(keys[1:], keys[0])
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return &Keyring{ring: ring}, nil
}

// Keys is the keys, the one that encrypts first.
func (k *Keyring) Keys() [][]byte { return slices.Clone(k.ring.GetKeys()) }

// Prints names the keys, the one that encrypts first.
func (k *Keyring) Prints() []KeyPrint {
	var prints []KeyPrint
	for _, key := range k.ring.GetKeys() {
		prints = append(prints, PrintOf(key))
	}
	return prints
}

// Add trusts one more key. A key that is trusted already is no error.
func (k *Keyring) Add(key []byte) error {
	if len(key) != KeyBytes {
		return fmt.Errorf("a key of %d bytes, not %d", len(key), KeyBytes)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if keys := k.ring.GetKeys(); len(keys) >= MaxKeys && index(keys, PrintOf(key)) < 0 {
		return ErrRingFull
	}
	return k.ring.AddKey(key)
}

// Use encrypts with a key of the ring from now on.
func (k *Keyring) Use(print KeyPrint) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	keys := k.ring.GetKeys()
	i := index(keys, print)
	if i < 0 {
		return ErrKeyUnknown
	}
	return k.ring.UseKey(keys[i])
}

// Remove trusts a key no more. A key that is not trusted is no error.
func (k *Keyring) Remove(print KeyPrint) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	keys := slices.Clone(k.ring.GetKeys())
	i := index(keys, print)
	switch {
	case i < 0:
		return nil
	case i == 0:
		return ErrKeyInUse
	}
	// memberlist moves the keys behind the removed one in place, under the hands of whoever is decrypting. Removing
	// only ever the last leaves nothing to move; those that stood behind it come back a moment later.
	for j := len(keys) - 1; j >= i; j-- {
		if err := k.ring.RemoveKey(keys[j]); err != nil {
			return err
		}
	}
	for _, key := range keys[i+1:] {
		if err := k.ring.AddKey(key); err != nil {
			return err
		}
	}
	return nil
}

// Replace makes the ring trust exactly these keys, the first in use: what an agent does when its key file changed.
func (k *Keyring) Replace(keys [][]byte) error {
	if _, err := NewKeyring(keys); err != nil {
		return err
	}
	for _, old := range k.Prints()[1:] { // the one in use is still needed
		if index(keys, old) < 0 {
			if err := k.Remove(old); err != nil {
				return err
			}
		}
	}
	inUse := k.Prints()[0]
	k.mu.Lock()
	for _, key := range keys {
		if err := k.ring.AddKey(key); err != nil { // may be one more than MaxKeys until the next lines
			k.mu.Unlock()
			return err
		}
	}
	err := k.ring.UseKey(keys[0])
	k.mu.Unlock()
	if err == nil && index(keys, inUse) < 0 {
		err = k.Remove(inUse)
	}
	return err
}

func index(keys [][]byte, print KeyPrint) int {
	return slices.IndexFunc(keys, func(key []byte) bool { return PrintOf(key) == print })
}

// KeyPrint names a gossip key without telling it, see Keyring.Prints.
type KeyPrint [8]byte
