package replica

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"homing/balancer/affinity"
)

// A state file, all numbers big-endian:
//
//	magic "homing" and a zero (7) | version (1) | seed (8) | when it was made (4) | CRC-32C of all that (4)
//	chunks: length (4) | CRC-32C of length and content (4) | runs of facts as in a frame
//	a chunk of length 0: the end; without it the file is not whole
//
// It holds facts and not tables, so a table of another size can be filled from it.
const (
	stateMagic   = "homing\x00"
	stateVersion = 2
	stateHeader  = len(stateMagic) + 1 + 8 + 4 + 4
	chunkHeader  = 4 + 4
)

func stateSum(parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once, by the package
	sum := uint32(0)
	for _, p := range parts {
		sum = crc32.Update(sum, table, p)
	}
	return sum
}

// writeState replaces the file at path by one that holds all that next yields, and returns its size. next appends to an
// empty slice, and leaves it empty at the end.
func writeState(path string, seed affinity.Seed, next func([]affinity.Fact) []affinity.Fact) (size int64, err error) {
	temp := path + ".tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that was not finished
		return 0, err
	}
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	size, err = writeChunks(file, seed, next)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return 0, err
	}
	if err := os.Rename(temp, path); err != nil {
		return 0, err
	}
	// The new name is on disk once the directory is. Where a directory cannot be synced (Windows), the old name would
	// be, which is as whole.
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		dir.Sync() //nolint:errcheck // see above
		dir.Close()
	}
	return size, nil
}

func writeChunks(w io.Writer, seed affinity.Seed, next func([]affinity.Fact) []affinity.Fact) (size int64, err error) {
	out := bufio.NewWriterSize(w, 256<<10)
	put := func(b []byte) {
		n, e := out.Write(b)
		size += int64(n)
		err = errors.Join(err, e)
	}
	head := append([]byte(stateMagic), stateVersion)
	head = binary.BigEndian.AppendUint64(head, seed.Value)
	head = binary.BigEndian.AppendUint32(head, seed.Made)
	put(binary.BigEndian.AppendUint32(head, stateSum(head)))

	room := make([]affinity.Fact, 0, batchFacts)
	content := make([]byte, 0, maxPayload)
	for last := false; !last && err == nil; {
		content = appendFacts(content[:0], next(room))
		last = len(content) == 0
		head := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
		put(binary.BigEndian.AppendUint32(head, stateSum(head, content)))
		put(content)
	}
	return size, errors.Join(err, out.Flush())
}

// verifyState is the seed of a state file that is whole and sound.
func verifyState(path string) (seed affinity.Seed, err error) {
	return walkState(path, func([]affinity.Fact) {})
}

// readState calls each with the facts of a state file, batch by batch.
func readState(path string, each func([]affinity.Fact)) error {
	_, err := walkState(path, each)
	return err
}

func walkState(path string, each func([]affinity.Fact)) (seed affinity.Seed, err error) {
	info, err := os.Stat(path) // before it is opened: to open a pipe may wait for ever
	if err != nil {
		return seed, err
	}
	if !info.Mode().IsRegular() {
		return seed, errors.New("not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return seed, err
	}
	defer file.Close()
	return walkChunks(bufio.NewReaderSize(file, 256<<10), each)
}

func walkChunks(r *bufio.Reader, each func([]affinity.Fact)) (seed affinity.Seed, err error) {
	var head [stateHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return seed, fmt.Errorf("header: %w", err)
	}
	version := head[len(stateMagic)]
	rest := head[len(stateMagic)+1:]
	switch {
	case !bytes.HasPrefix(head[:], []byte(stateMagic)):
		return seed, errors.New("not a state of homing")
	case version != stateVersion:
		return seed, fmt.Errorf("a state of version %d, not %d", version, stateVersion)
	case binary.BigEndian.Uint32(rest[12:]) != stateSum(head[:stateHeader-4]):
		return seed, errors.New("a broken header")
	}
	seed = affinity.Seed{Value: binary.BigEndian.Uint64(rest), Made: binary.BigEndian.Uint32(rest[8:])}
	if seed.Value == 0 {
		return seed, errors.New("a state without a seed")
	}
	buf := make([]byte, maxPayload)
	var facts []affinity.Fact
	for chunk := 1; ; chunk++ {
		var head [chunkHeader]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return seed, fmt.Errorf("chunk %d: %w", chunk, err)
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > maxPayload {
			return seed, fmt.Errorf("chunk %d of %d bytes", chunk, n)
		}
		content := buf[:n]
		if _, err := io.ReadFull(r, content); err != nil {
			return seed, fmt.Errorf("chunk %d: %w", chunk, err)
		}
		if binary.BigEndian.Uint32(head[4:]) != stateSum(head[:4], content) {
			return seed, fmt.Errorf("chunk %d is broken", chunk)
		}
		if n == 0 {
			return seed, nil
		}
		if facts, err = parseFacts(content, facts[:0]); err != nil {
			return seed, fmt.Errorf("chunk %d: %w", chunk, err)
		}
		each(facts)
	}
}
