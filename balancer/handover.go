//go:build linux

package balancer

import "errors"

// ExportSockets returns duplicates of all sockets that are listened on, for another process: they are the caller's to
// close, and close on exec. That process has to take from each of them, for each has a queue of its own.
//
// The hand-over of a process, so that no connection is refused or lost: another one gets the sockets in its
// Config.Import and runs; both take connections for a while; then Release here, and Shutdown when it suits.
func (b *Balancer) ExportSockets() ([]ExportedSocket, error) {
	b.reloading.Lock() // sockets come and go with a reload
	defer b.reloading.Unlock()
	b.mu.Lock()
	endpoints, stage := b.endpoints, b.stage
	b.mu.Unlock()
	if stage != stageMade && stage != stageRunning {
		return nil, errors.New("balancer: it listens no more")
	}
	var all imported
	for _, p := range endpoints {
		one := ExportedSocket{Addr: p.bound, Foreign: p.foreign}
		for _, sockets := range p.sockets {
			for _, s := range sockets {
				if s.alias || stage == stageMade && s.dormant {
					continue // its queue is another one's, or it has none yet
				}
				fd, err := s.dup()
				if err != nil {
					return nil, errors.Join(err, all.close(), imported{one}.close())
				}
				one.FDs = append(one.FDs, fd)
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// Release stops listening and leaves what waits in the queues to the process that has the sockets from ExportSockets.
// When it returns no loop takes connections any more and this process has closed its descriptors. Open conns go on,
// until they end or Shutdown. An error says that there was nothing to release.
func (b *Balancer) Release() error {
	b.reloading.Lock()
	defer b.reloading.Unlock()
	if !b.become(stageReleased, stageRunning) {
		return errors.New("balancer: it does not run, or listens no more")
	}
	b.mu.Lock()
	for _, p := range b.endpoints {
		p.file.Store(nil) // another process listens there now
	}
	b.mu.Unlock()
	return b.order(func(int) command { return command{kind: commandRelease} })
}
