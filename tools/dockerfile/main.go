// Command dockerfile checks Dockerfiles with the parser and the rules of BuildKit that need no
// image: syntax, instructions and their arguments, deprecated forms. What it finds is an error.
package main

import (
	"fmt"
	"os"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func main() {
	status := 0
	for _, name := range os.Args[1:] {
		for _, complaint := range lint(name) {
			fmt.Printf("%s: %s\n", name, complaint)
			status = 1
		}
	}
	os.Exit(status)
}

func lint(name string) (complaints []string) {
	file, err := os.Open(name) //nolint:gosec // the caller names it
	if err != nil {
		return []string{err.Error()}
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		return []string{err.Error()}
	}
	for _, warning := range parsed.Warnings {
		complaints = append(complaints, warning.Short)
	}
	rules := linter.New(&linter.Config{Warn: func(rule, _, _, message string, _ []parser.Range) {
		complaints = append(complaints, rule+": "+message)
	}})
	if _, _, err = instructions.Parse(parsed.AST, rules); err != nil {
		complaints = append(complaints, err.Error())
	}
	return complaints
}
