//go:build linux

package balancer

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestOnlyBecomeChangesTheState holds what the package comment says: a conn's state is set in functions named become*,
// and nowhere else. A conn is made, and unmade, as a whole only where the table gives it and takes it back.
func TestOnlyBecomeChangesTheState(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{} // who does
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := fn.Name.Name
			ast.Inspect(fn, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					for _, left := range n.Lhs {
						if isState(left) {
							set[name] = true
						}
					}
				case *ast.UnaryExpr:
					if n.Op == token.AND && isState(n.X) {
						t.Errorf("%s takes the address of a state", name)
					}
				case *ast.CompositeLit:
					if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "conn" && name != "take" && name != "give" {
						t.Errorf("%s makes a conn", name)
					}
				}
				return true
			})
		}
	}
	for name := range set {
		if !strings.HasPrefix(name, "become") {
			t.Errorf("%s sets a conn's state, which only become* may", name)
		}
	}
	if len(set) < 5 { // a state each has its own, but for the free ones
		t.Errorf("only %d functions set a state: what is one called now?", len(set))
	}
}

// isState says whether e is the field of a conn that is its state: no other struct of the package has one of that name.
func isState(e ast.Expr) bool {
	field, ok := e.(*ast.SelectorExpr)
	return ok && field.Sel.Name == "state"
}
