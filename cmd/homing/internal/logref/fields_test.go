package logref

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// root is the repository, seen from here.
const root = "../../../.."

// connLine is the file that writes the line of a conn.
const connLine = "cmd/homing/internal/logref/conn.go"

// copiesKeys is the one file that logs names which are no literals: those of other lines, which it keeps.
const copiesKeys = "cmd/homing/internal/admin/events.go"

// kinds are what slog's constructors make.
var kinds = map[string]Kind{
	"String": Text, "Int": Number, "Int64": Number, "Uint64": Number, "Float64": Seconds, "Time": Time, "Duration": "nothing: in JSON it has no unit, use Float64 and a name that ends in _seconds", "Bool": Flag, "Any": Error,
}

// logged is a field as a file of the source logs it.
type logged struct {
	name string
	kind Kind   // empty: it cannot be seen
	at   string // file:line
}

// source is every field that the command logs, in the order of each file.
func source(t *testing.T) (conn, events []logged) {
	t.Helper()
	files := 0
	for _, dir := range []string{"balancer", "cluster", "cmd/homing"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			found := fieldsOf(t, path, name)
			if name == connLine {
				conn = found
			} else {
				events = append(events, found...)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 150 || len(conn) < 20 || len(events) < 100 {
		t.Fatalf("only %d files, %d fields of conns and %d of events are seen", files, len(conn), len(events))
	}
	return conn, events
}

// fieldsOf reads one file. Names that are made at run time are errors.
func fieldsOf(t *testing.T, path, name string) (found []logged) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.CompositeLit); ok && isSlog(literal.Type, "Attr") && len(literal.Elts) > 0 && name != copiesKeys {
			t.Errorf("%s: a field is made by hand: use slog.String and its like", set.Position(n.Pos()))
		}
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		at := name + ":" + strconv.Itoa(set.Position(n.Pos()).Line)
		kind, constructs := kinds[method.Sel.Name]
		switch {
		case constructs && isSlog(call.Fun, method.Sel.Name):
			key, ok := literal(call.Args[0])
			if !ok && name != copiesKeys {
				t.Errorf("%s: the name of a field is no literal: it cannot be documented", at)
			}
			if ok {
				found = append(found, logged{key, kind, at})
			}
		case slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, method.Sel.Name) && !isIdent(method.X, "http"):
			for i := 1; i < len(call.Args); i++ {
				if key, ok := literal(call.Args[i]); ok { // a name, then its value
					found = append(found, logged{key, "", at})
					i++
				}
			}
		}
		return true
	})
	return found
}

func isSlog(e ast.Expr, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	return isIdent(s.X, "slog")
}

func isIdent(e ast.Expr, name string) bool {
	ident, ok := e.(*ast.Ident)
	return ok && ident.Name == name
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// TestConnDocumented: the line of a conn is what it is documented to be, field by field.
func TestConnDocumented(t *testing.T) {
	conn, _ := source(t)
	row := func(name string, kind Kind) string { return name + " " + string(kind) }
	var want, got []string
	for _, f := range Conn() {
		want = append(want, row(f.Name, f.Kind))
	}
	for _, l := range conn {
		got = append(got, row(l.name, l.kind))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the line of a conn (-documented +logged):\n%s", diff)
	}
}

// TestEventsDocumented: what events log is documented, as what it is, and what is documented is logged.
func TestEventsDocumented(t *testing.T) {
	_, events := source(t)
	known := map[string]Field{}
	var names []string
	for _, f := range Events() {
		known[f.Name] = f
		names = append(names, f.Name)
	}
	if !slices.IsSorted(names) || len(known) != len(names) {
		t.Error("the fields are not sorted by name, or one is there twice")
	}
	for _, l := range events {
		f, ok := known[l.name]
		if !ok {
			t.Errorf("%s logs %q, which is not documented: add it to Events", l.at, l.name)
			continue
		}
		if l.kind != "" && f.Kind != l.kind && (f.Kind != Text || l.kind != Error) { // an error may be a reason
			t.Errorf("%s logs %q as %s, documented is %s", l.at, l.name, l.kind, f.Kind)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(events, func(l logged) bool { return l.name == name }) {
			t.Errorf("%q is documented, and nothing logs it", name)
		}
	}
}

// TestWrite: each field has a sentence, and each word that a field can be is there.
func TestWrite(t *testing.T) {
	for _, f := range slices.Concat(EveryLine(), Conn(), Events()) {
		if !strings.HasSuffix(f.Doc, ".") || strings.Contains(f.Doc, "\n") {
			t.Errorf("%s: %q is no sentence", f.Name, f.Doc)
		}
	}
	var out bytes.Buffer
	if err := Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"offer            text     What the hello offered to resume: none, id, ticket, psk.\n",
		"source           text     The rule that named the backend: ", "ticket_key", "rotated", "bytes_in         number   Bytes from the client.\n",
		"down_seconds     seconds  How long the backend was down.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
