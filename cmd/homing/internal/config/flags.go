//go:build linux

package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"homing/balancer/pool"
	"homing/cmd/homing/internal/value"
)

// Flags is the command line of `homing run`. Without File it describes one pool, DefaultPool, on all listeners; beside a
// file it says what the top of the file says, and wins.
type Flags struct {
	File string

	listens  []string
	backends []pool.Spec
	scratch  *Config // what each flag is tried on as it is read
	given    map[string][]string
}

// NewFlags is a command line without a flag.
func NewFlags() *Flags {
	return &Flags{scratch: Default(), given: make(map[string][]string)}
}

// Table is every flag of `homing run`.
func (f *Flags) Table() []Group {
	table := Table(f.scratch)
	for _, group := range table {
		for i := range group.Rows {
			row := &group.Rows[i]
			row.Value = &recorded{Value: row.Value, flag: row.Flag, given: f.given}
		}
	}
	table[0].Rows = append([]Row{
		top("config", "", value.Path(&f.File, "FILE"),
			"read listeners, pools and all else from this file, see homing config -h; flags beside it win over its top"),
		top("listen", "listeners[].address", value.Several[string]{P: &f.listens, Parse: parseListen, Kind: "ADDR"},
			"accept here; repeatable: 192.0.2.1:443, [2001:db8::1]:443, :443 for IPv4 and IPv6, or unix:/run/homing.sock"),
		top("backend", "pools[].backends[].address", backendsValue(&f.backends),
			"send there; repeatable: an address or a name, with its port, or unix:/run/app.sock; weight 1 to 1000"),
	}, table[0].Rows...)
	return table
}

// recorded is a flag of which all that it is given is kept, to be given to another Config.
type recorded struct {
	value.Value
	flag  string
	given map[string][]string
}

// Set implements value.Value.
func (v *recorded) Set(s string) error {
	if err := v.Value.Set(s); err != nil {
		return err
	}
	if _, list := v.Value.(value.List); !list {
		v.given[v.flag] = nil
	}
	v.given[v.flag] = append(v.given[v.flag], s)
	return nil
}

// override gives c what the flags say.
func (f *Flags) override(c *Config) error {
	for _, row := range topRows(c) {
		texts, given := f.given[row.Flag]
		if list, ok := row.Value.(value.List); ok && given {
			list.Reset()
		}
		for _, text := range texts {
			if err := row.Value.Set(text); err != nil {
				return fmt.Errorf("--%s %q: %w", row.Flag, text, err)
			}
		}
	}
	return nil
}

// Load makes the configuration that the flags and the file say together. It reads the file each time. An error is one
// line, or *Errors, which are many.
func (f *Flags) Load() (*Config, error) {
	if f.File == "" {
		return f.alone()
	}
	if len(f.listens) > 0 || len(f.backends) > 0 {
		return nil, errors.New("--listen and --backend describe what --config describes too: " +
			"write them into its listeners and pools")
	}
	name, text, err := Read(f.File)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	return Parse(name, text, f.override)
}

// Stdin is the file name that stands for standard input.
const Stdin = "-"

// Read reads a file, or standard input, and gives the name that messages call it by.
func Read(file string) (name string, text []byte, err error) {
	if file == Stdin {
		text, err = io.ReadAll(os.Stdin)
		return "standard input", text, err
	}
	text, err = os.ReadFile(file)
	return file, text, err
}

// alone is the configuration without a file.
func (f *Flags) alone() (*Config, error) {
	c := Default()
	if err := f.override(c); err != nil {
		return nil, err
	}
	c.Pools = []Pool{{Name: DefaultPool, Backends: slices.Clone(f.backends), PoolSettings: c.Pool}}
	for i, addr := range f.listens {
		name := addr
		if slices.Contains(f.listens[:i], addr) { // port 0; else it is refused below
			name = fmt.Sprintf("listener-%d", i+1)
		}
		c.Listeners = append(c.Listeners,
			Listener{Name: name, Address: addr, Default: DefaultPool, ListenerSettings: c.Listener})
	}
	if len(f.listens) == 0 {
		return nil, errors.New("--listen is missing: say where to accept, such as --listen :443")
	}
	if wrong := c.contradictions(); len(wrong) > 0 {
		return nil, errors.New(InFlags(wrong[0].text))
	}
	if text := c.Pool.Checks.contradiction(); text != "" {
		return nil, errors.New(text)
	}
	if len(f.backends) == 0 && !c.Discovers(&c.Pools[0]) {
		return nil, errors.New("--backend is missing: say where to send, such as --backend 192.0.2.7:443")
	}
	for i, addr := range f.listens {
		for _, other := range f.listens[:i] {
			switch {
			case !overlap(addr, other):
			case addr == other:
				return nil, fmt.Errorf("--listen %q is given twice: leave one out", addr)
			default:
				return nil, fmt.Errorf("--listen %q and --listen %q take the same conns: leave one out", other, addr)
			}
		}
	}
	before := make(map[string]bool, len(f.backends))
	for _, spec := range f.backends {
		if l := c.itself(spec.Addr); l != nil {
			return nil, fmt.Errorf("--backend %q is what --listen %q accepts on: every conn would come back: "+
				"give the address of another server", spec.Addr, l.Address)
		}
		if text := c.Pools[0].unlikeUnix(&spec); text != "" {
			return nil, fmt.Errorf("--backend %q: %s", spec.Addr, text)
		}
		addr := plainBackend(spec.Addr)
		if before[addr] {
			return nil, fmt.Errorf("--backend %q is given twice: leave one out, and use weight=N for a bigger share",
				spec.Addr)
		}
		before[addr] = true
	}
	return c, nil
}
