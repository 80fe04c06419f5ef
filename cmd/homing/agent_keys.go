package main

import (
	"log/slog"
	"os"
	"time"

	"homing/cluster"
)

// keyFileEvery is the pause between two looks at the key file.
const keyFileEvery = 2 * time.Second

// fileMark tells one state of a file from another.
type fileMark struct {
	size  int64
	mtime time.Time
}

func (a *agent) keyFile() fileMark {
	info, err := os.Stat(a.options.GossipKeyFile)
	if err != nil {
		return fileMark{}
	}
	return fileMark{info.Size(), info.ModTime()}
}

// reloadKeys takes over the keys of the file when it is not as before, and gives how it is now. This is how agents
// follow a rotation: they have no node key, so nobody can tell them.
func (a *agent) reloadKeys(before fileMark) fileMark {
	if a.keys == nil {
		return before
	}
	now := a.keyFile()
	if now == before || now == (fileMark{}) {
		return before
	}
	keys, err := loadKeys("gossip-key-file", a.options.GossipKeyFile, a.log)
	if err == nil && !sameKeys(keys, a.keys.Keys()) {
		err = a.keys.Replace(keys)
		if err == nil {
			a.log.Info("gossip keys taken over from their file", slog.Int("keys", len(keys)), slog.String("in_use", cluster.PrintOf(keys[0]).String()))
			err = a.membership.Update(func(*cluster.Meta) {}) // the prints are new
		}
	}
	if err != nil {
		a.log.Warn("the gossip keys stay as they are", slog.Any("error", err))
	}
	return now
}
