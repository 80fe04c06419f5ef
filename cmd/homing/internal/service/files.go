//go:build linux

package service

import (
	"log/slog"
	"syscall"
)

const (
	// spareFiles is for what is no conn: listeners, pipes, checks, the admin server, the log.
	spareFiles = 100

	// mostConns bounds what auto gives to --max-conns where the system sets no limit of open files.
	mostConns = 1_000_000
)

// fileLimit is the limit of open files after raiseFiles.
type fileLimit struct {
	files uint64
	err   error
}

// raiseFiles raises the limit of open files to what the system allows.
func raiseFiles() fileLimit {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	if err == nil && limit.Cur < limit.Max {
		raised := syscall.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err == nil {
			limit = raised
		}
	}
	return fileLimit{limit.Cur, err}
}

// connsFor is how many conns fit into a limit of open files: each takes two sockets.
func connsFor(files uint64) int {
	if files <= spareFiles+2 {
		return 1
	}
	return int(min((files-spareFiles)/2, mostConns))
}

// warn says that the limit could not be raised, or is too low for maxConns.
func (l fileLimit) warn(log *slog.Logger, maxConns int) {
	if l.err != nil {
		log.Warn("the limit of open files could not be raised", slog.Uint64("limit", l.files), slog.Any("error", l.err))
	}
	if need := uint64(maxConns)*2 + spareFiles; l.files < need {
		log.Warn("the limit of open files is too low for --max-conns: raise it (ulimit -Hn, LimitNOFILE=) or lower "+
			"--max-conns",
			slog.Uint64("limit", l.files), slog.Uint64("needed", need), slog.Int("max_conns", maxConns))
	}
}
