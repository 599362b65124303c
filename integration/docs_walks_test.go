package integration_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/options"
)

var (
	docSection = regexp.MustCompile(`(?ms)^## (?:Add |Walks).*?(?:^## Test$)`)
	docName    = regexp.MustCompile("`(?:([a-zA-Z]\\w*)\\.)?([a-zA-Z]\\w*)`")
)

// TestDocsWalks: what the walks of CONTRIBUTING.md name is there: a declaration, by itself, or
// after its package or type; an option; or a module of Caddy. TestDocsLinks looks for the files.
func TestDocsWalks(t *testing.T) {
	declared := declarations(t)
	for _, module := range caddy.Modules() {
		declared[module[strings.LastIndexByte(module, '.')+1:]] = true
	}
	for _, o := range options.ThisSystem().Options {
		declared[o.Name] = true
	}
	names := docName.FindAllStringSubmatch(docSection.FindString(readPage(t, "CONTRIBUTING.md")), -1)
	require.Greater(t, len(names), 50)
	for _, name := range names {
		of := name[2]
		if name[1] != "" {
			of = name[1] + "." + of
		}
		require.True(t, declared[of], "CONTRIBUTING.md names %s, which is not declared", of)
	}
}

// declarations has the functions, methods and other declarations of the repository that are not
// its tests', by name, by package.name and by type.name, and the tests' functions by name.
func declarations(t *testing.T) map[string]bool {
	t.Helper()
	declared := make(map[string]bool)
	require.NoError(t, fs.WalkDir(checkout, ".", func(file string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(file) != ".go" {
			return err
		}
		text, err := fs.ReadFile(checkout, file)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		add := func(of, name string) { declared[name], declared[of+"."+name] = true, true }
		for _, d := range parsed.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					add(parsed.Name.Name, d.Name.Name)
					continue
				}
				receiver := d.Recv.List[0].Type
				if pointer, ok := receiver.(*ast.StarExpr); ok {
					receiver = pointer.X
				}
				if of, ok := receiver.(*ast.Ident); ok {
					add(of.Name, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						add(parsed.Name.Name, spec.Name.Name)
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							add(parsed.Name.Name, name.Name)
						}
					}
				}
			}
		}
		return nil
	}))
	return declared
}
