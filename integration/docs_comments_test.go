package integration_test

import (
	"encoding/json"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	sockopt "github.com/caddy-sockopt/caddy-sockopt"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// Caddy's site shows the doc comments of modules and of the fields of their configuration.

// documentedType is a struct with its doc comments.
type documentedType struct {
	doc    string
	fields []*ast.Field
}

// documentedTypes are the exported structs of a package, by name, and the IDs of those that are modules.
func documentedTypes(t *testing.T, directory string) (types map[string]documentedType, modules map[string]string) {
	t.Helper()
	types, modules = make(map[string]documentedType), make(map[string]string)
	files, err := filepath.Glob(filepath.Join(lab.Root(), directory, "*.go"))
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok && s.Name.IsExported() {
						if st, ok := s.Type.(*ast.StructType); ok {
							types[s.Name.Name] = documentedType{d.Doc.Text(), st.Fields.List}
						}
					}
				}
			case *ast.FuncDecl:
				if d.Name.Name != "CaddyModule" {
					continue
				}
				receiver := d.Recv.List[0].Type
				if pointer, ok := receiver.(*ast.StarExpr); ok {
					receiver = pointer.X
				}
				ast.Inspect(d.Body, func(n ast.Node) bool {
					pair, ok := n.(*ast.KeyValueExpr)
					if !ok || pair.Key.(*ast.Ident).Name != "ID" {
						return true
					}
					if id, ok := pair.Value.(*ast.BasicLit); ok { // the names of loggers are no literals
						modules[receiver.(*ast.Ident).Name] = strings.Trim(id.Value, `"`)
					}
					return true
				})
			}
		}
	}
	return types, modules
}

// TestDocCommentsOfModules holds that each module has a description, its Caddyfile, and as an example
// the JSON that this Caddyfile becomes.
func TestDocCommentsOfModules(t *testing.T) {
	types, modules := documentedTypes(t, ".")
	for _, route := range (sockopt.AdminAPI{}).Routes() {
		require.Contains(t, types["AdminAPI"].doc, "\n`"+route.Pattern+"` | ")
	}
	seen := 0
	for name, id := range modules {
		if name == "AdminAPI" || !ast.IsExported(name) {
			continue // without configuration
		}
		seen++
		t.Run(id, func(t *testing.T) {
			doc := types[name].doc
			require.True(t, strings.HasPrefix(doc, name+" "), doc)

			examples := make(map[string]string) // by the line before
			before := ""
			for _, block := range new(comment.Parser).Parse(doc).Content {
				switch b := block.(type) {
				case *comment.Paragraph:
					before = string(new(comment.Printer).Text(&comment.Doc{Content: []comment.Block{b}}))
				case *comment.Code:
					examples[strings.TrimSpace(before)] = b.Text
				}
			}
			var written any
			require.NoError(t, json.Unmarshal([]byte(examples["JSON:"]), &written), "a paragraph \"JSON:\", and below an example")

			for line, text := range examples {
				place, ok := strings.CutPrefix(strings.TrimSuffix(line, ":"), "Caddyfile, ")
				if !ok {
					continue
				}
				if word, ok := strings.CutPrefix(place, "inside "); ok {
					place = "inside `" + word + "`"
				}
				around, ok := docPlaces[place]
				require.True(t, ok, "the test does not know where %q is", place)
				adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(around[0]+text+around[1]), nil)
				require.NoError(t, err)
				var config any
				require.NoError(t, json.Unmarshal(adapted, &config))
				require.True(t, contains(config, written), "%s\nlacks\n%s", adapted, examples["JSON:"])
				return
			}
			t.Fatal("no paragraph \"Caddyfile, …:\" with an example below")
		})
	}
	require.Equal(t, 7, seen)
}

// contains reports whether some value inside config is equal to want.
func contains(config, want any) bool {
	if reflect.DeepEqual(config, want) {
		return true
	}
	switch c := config.(type) {
	case map[string]any:
		for _, v := range c {
			if contains(v, want) {
				return true
			}
		}
	case []any:
		for _, v := range c {
			if contains(v, want) {
				return true
			}
		}
	}
	return false
}

var (
	fieldDefault = regexp.MustCompile(`\b[Dd]efault\b`)
	// fieldUnits are what the comment of a field says of the unit, by the field's type. Durations
	// are written with their unit, but the kernel has units of its own.
	fieldUnits = map[string]*regexp.Regexp{
		"Size":     regexp.MustCompile(`\b[Bb]ytes\b`),
		"Duration": regexp.MustCompile(`seconds\b|\b\d+m?s\b`),
	}
)

// TestDocCommentsOfFields holds that each field of a configuration has a doc comment, with default and unit.
func TestDocCommentsOfFields(t *testing.T) {
	seen := 0
	for directory, names := range map[string][]string{
		".":       {"ListenerWrapper", "PacketConnWrapper", "Transport", "Handler", "TCPInfo", "MatchTCPInfo", "EchoPayload"},
		"options": {"Options", "RawOption"},
	} {
		types, _ := documentedTypes(t, directory)
		for _, name := range names {
			require.Contains(t, types, name)
			for _, field := range types[name].fields {
				if field.Tag == nil || !strings.Contains(field.Tag.Value, `json:"`) {
					continue
				}
				seen++
				t.Run(name+"."+field.Names[0].Name, func(t *testing.T) {
					doc := field.Doc.Text()
					require.NotEmpty(t, doc)
					if strings.Contains(field.Tag.Value, "omit") && field.Names[0].Name != "Raw" {
						require.Regexp(t, fieldDefault, doc)
					}
					kind := field.Type
					if pointer, ok := kind.(*ast.StarExpr); ok {
						kind = pointer.X
					}
					if selector, ok := kind.(*ast.SelectorExpr); ok {
						kind = selector.Sel
					}
					if word, ok := kind.(*ast.Ident); ok && fieldUnits[word.Name] != nil {
						require.Regexp(t, fieldUnits[word.Name], doc)
					}
				})
			}
		}
	}
	require.Greater(t, seen, 40)
}
