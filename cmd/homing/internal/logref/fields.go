// Package logref is the reference of what the log says: each field of the line of a conn and of the lines of events, with
// its meaning. A test compares it with the calls in the source, both ways, so that no field is logged that is not here.
package logref

import (
	"fmt"
	"io"
	"strings"

	"homing/balancer"
	"homing/balancer/affinity"
)

// Kind is what a field's value looks like.
type Kind string

// The kinds, as they are printed.
const (
	Text    Kind = "text"
	Number  Kind = "number"
	Seconds Kind = "seconds" // a number with decimals
	Time    Kind = "time"    // RFC 3339
	Flag    Kind = "flag"    // true or false
	Error   Kind = "error"   // text: what went wrong
)

// Field is one name of the log.
type Field struct {
	Name   string
	Kind   Kind
	Doc    string   // a sentence
	Values []string // all that it can be; nil where that has no end
}

// EveryLine is what each line has.
func EveryLine() []Field {
	return []Field{
		{"time", Time, "When it was logged.", nil},
		{"level", Text, "How bad it is.", []string{"DEBUG", "INFO", "WARN", "ERROR"}},
		{"msg", Text, "What happened; conn: the line of a conn.", nil},
	}
}

// words are those of an enumeration.
func words[E interface {
	~uint8
	fmt.Stringer
}](n E) (list []string) {
	for e := range n {
		if word := e.String(); word != "" {
			list = append(list, word)
		}
	}
	return list
}

// Conn is the line of a conn, in its order. A field that says nothing is empty, or 0.
func Conn() []Field {
	return []Field{
		{"start", Time, "When it was accepted.", nil},
		{"client", Text, "The client's address and port, of its PROXY header if that was taken; unix: for a client without an address.", nil},
		{"listener", Text, "Name of the listener, or its address.", nil},
		{"pool", Text, "Where its hello went; empty where no route takes it.", nil},
		{"sni", Text, "Server name that the client asked for.", nil},
		{"backend", Text, "The backend that has served it, or was tried last.", nil},
		{"hello", Text, "What the client's first bytes were.", words(balancer.NumHelloOutcomes)},
		{"offer", Text, "What the hello offered to resume.", words(affinity.NumOfferKinds)},
		{"source", Text, "The rule that named the backend.", words(affinity.NumSources)},
		{"verdict", Text, "What the backend made of the offer.", words(balancer.NumVerdicts)},
		{"lost", Text, "Why the offer was not resumed.", words(balancer.NumLost)},
		{"bytes_in", Number, "Bytes from the client.", nil},
		{"bytes_out", Number, "Bytes from the backend.", nil},
		{"hello_seconds", Seconds, "From its accept to its whole hello.", nil},
		{"queue_seconds", Seconds, "From there to its turn, while all backends had as many conns as they may.", nil},
		{"connect_seconds", Seconds, "From there to the backend's having the hello; all tries.", nil},
		{"answer_seconds", Seconds, "From there to the backend's first byte.", nil},
		{"total_seconds", Seconds, "From its accept to its end.", nil},
		{"tries", Number, "Connects to backends.", nil},
		{"connect_error", Text, "What the last connect that failed has said.", nil},
		{"refused", Text, "Which of the listener's rules refused it.", words(balancer.NumRefusals)},
		{"termination", Text, "Cause and phase of its end, two letters: the README has them all.", nil},
	}
}

// Events is the fields of all other lines, by name. A line has those that belong to it.
func Events() []Field {
	return []Field{
		{"WATCHDOG_USEC", Text, "The environment variable that systemd has set.", nil},
		{"addr", Text, "Address and port, or unix: and a path, where something listens or gossips.", nil},
		{"again", Number, "How many lines like it were left out since the last one: there is one a minute of a kind and a sender.", nil},
		{"as", Text, "The file's new name.", nil},
		{"asked", Number, "The weight that an agent announces.", nil},
		{"backend", Text, "The backend's address and port, or unix: and its path.", nil},
		{"because", Text, "Why.", nil},
		{"by", Text, "Who has asked for it, a signal or the admin API; the nodes that refuse.", nil},
		{"bytes", Number, "Bytes of the name of a ticket key.", nil},
		{"cause", Text, "What a pool, a listener or the node is short of: /v1/openapi.json has them all.", nil},
		{"changes", Text, "What is other than before, in words.", nil},
		{"client_entries", Number, "Entries that the table of clients is made for.", nil},
		{"config", Text, "The configuration file.", nil},
		{
			"count", Number, "What a shortage has cost since the last line about it: conns, connects or lines, or milliseconds " +
				"that clients have waited.", nil,
		},
		{"cut", Number, "Conns that were reset because the time of the drain was over.", nil},
		{"delay_seconds", Seconds, "How long conns are taken yet, while everybody is told that the node goes.", nil},
		{"discovers", Flag, "Whether backends are taken from agents.", nil},
		{"down_seconds", Seconds, "How long the backend was down.", nil},
		{"encrypted", Flag, "Whether gossip is.", nil},
		{"end", Time, "When a drain stops admitting the backend's own resumptions.", nil},
		{"engine", Text, "What the loops stand on: io_uring or epoll.", nil},
		{"error", Error, "What went wrong.", nil},
		{"facts", Number, "Facts in a state file: sessions, tickets, ticket keys, clients.", nil},
		{"file", Text, "A file's path.", nil},
		{"from", Text, "The member of the cluster, or the address, that sent it.", nil},
		{"go", Text, "Version of the Go toolchain that has built the program.", nil},
		{"gomaxprocs", Number, "Threads that the Go runtime runs at once.", nil},
		{"good", Number, "Of the facts, those that are news and still good.", nil},
		{"hash", Text, "Hash of the configuration: equal for files that say the same.", nil},
		{"heir", Number, "Process ID of the process that took over.", nil},
		{"how", Text, "How a process ended.", nil},
		{"id", Text, "ID of this node or agent in its cluster.", nil},
		{"in_use", Text, "Name of the key that is in use; a name is no secret.", nil},
		{"join", Text, "Address of a node that is asked for the cluster.", nil},
		{"key", Text, "Name of a key, or hash of the name of a ticket key; no secret.", nil},
		{"keys", Number, "Keys that are trusted.", nil},
		{"level", Text, "The least level that is logged from then on.", nil},
		{"limit", Number, "Files that the process may have open.", nil},
		{"lines", Number, "Lines of this log that were dropped.", nil},
		{"listener", Text, "Name of the listener.", nil},
		{"live", Text, "Backends of the pool that are live, of how many.", nil},
		{"loops", Number, "Loops that carry conns.", nil},
		{"max_conns", Number, "Bound of conns: of the process, or of a backend; 0: none.", nil},
		{"member", Text, "ID of a member of the cluster.", nil},
		{"memory", Text, "Memory of the tables when they are full.", nil},
		{"mode", Text, "How a backend is drained: off, soft or hard.", nil},
		{"more", Number, "Ticket keys that were learned beside those that have lines of their own.", nil},
		{"name", Text, "Name in the configuration, of this node or another member of the cluster.", nil},
		{"names", Text, "Server names that the probe asked for.", nil},
		{"needed", Number, "Open files that so many conns need.", nil},
		{"open", Number, "Conns that are open.", nil},
		{"other", Text, "Address of another member that calls itself the same; the other of two pools.", nil},
		{"path", Text, "The program that is started to take over.", nil},
		{"peer", Text, "The other node of a replication stream.", nil},
		{"pid", Number, "Process ID.", nil},
		{"policy", Text, "How a fresh handshake finds a backend.", nil},
		{"pool", Text, "The pool's name.", nil},
		{"remedy", Text, "What to do about it.", nil},
		{"replication", Text, "Where replication streams are accepted; off without a node key.", nil},
		{"report", Text, "What a backend says of itself.", nil},
		{"resync", Flag, "Whether the whole table is sent first.", nil},
		{"role", Text, "node or agent.", nil},
		{"routes", Number, "Routes of a listener.", nil},
		{"says", Text, "What the library that gossips has logged.", nil},
		{"seeds", Number, "Addresses that are asked for the cluster.", nil},
		{"shared", Flag, "Whether several backends hold the ticket key.", nil},
		{"signal", Text, "The signal that was received.", nil},
		{"socket", Text, "Name of a socket that was inherited.", nil},
		{"state", Text, "What a member says of itself, or an agent of its backend.", nil},
		{"table", Text, "One of the tables.", nil},
		{"table_entries", Number, "Entries that the table of sessions is made for.", nil},
		{"timeout_seconds", Seconds, "How long it may take.", nil},
		{"tls", Text, "What a listener does with what is not TLS: auto, require or off.", nil},
		{"took_seconds", Seconds, "How long it took.", nil},
		{"version", Text, "Version of homing, or of TLS.", nil},
		{"was", Text, "What the member had said of itself before, or the ID of one whose place it has.", nil},
		{"weight", Number, "Share of fresh handshakes relative to the others.", nil},
		{"what", Text, "What systemd was to be told; what a shortage has done to clients.", nil},
		{"why", Text, "The reason.", nil},
	}
}

// Write prints the reference.
func Write(w io.Writer) error {
	for i, part := range []struct {
		title  string
		fields []Field
	}{
		{"Every line:", EveryLine()},
		{"The line of a conn (--log-conns), in its order; what says nothing is empty:", Conn()},
		{"Lines of events, each with some of these:", Events()},
	} {
		if i > 0 {
			part.title = "\n" + part.title
		}
		if _, err := fmt.Fprintln(w, part.title); err != nil {
			return err
		}
		for _, f := range part.fields {
			if _, err := fmt.Fprintf(w, "  %-16s %-8s %s\n", f.Name, f.Kind, f.line()); err != nil {
				return err
			}
		}
	}
	return nil
}

// line is the meaning, with all values where they are known.
func (f *Field) line() string {
	if f.Values == nil {
		return f.Doc
	}
	return strings.TrimSuffix(f.Doc, ".") + ": " + strings.Join(f.Values, ", ") + "."
}
