package options

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Lines returns the options of phases as lines of a Caddyfile block.
func (o *Options) Lines(phases Phase) []Line {
	lines := make([]Line, 0, len(rows))
	for _, r := range rows {
		lines = append(lines, Line{
			Name:    r.name,
			Barred:  r.barred(phases),
			Want:    r.want,
			Values:  r.words,
			Repeats: r.repeats(),
			IsSet:   func() bool { return r.isSet(o) },
			Parse:   func(values []string) error { return r.parse(o, values) },
		})
	}
	return lines
}

// SizeLine is a line whose value is a size. check may be nil.
func SizeLine(name string, to **Size, check func(Size) error) Line {
	k := kindOf(values[Size]{want: wantSize, parse: ParseSize, check: check})
	return Line{
		Name: name, Want: k.want, Values: k.words,
		IsSet: func() bool { return *to != nil },
		Parse: func(words []string) error { return k.parse(to, words) },
	}
}

// Line is a line that a block may contain: a name and its values.
type Line struct {
	Name    string
	Barred  string // why it is not allowed in this block, though it is in another
	Want    string // what the values look like
	Values  int    // how many there are
	Repeats bool   // whether the line may be repeated
	IsSet   func() bool
	Parse   func(values []string) error
}

// ParseBlock reads a block of lines. Errors name the file, the line, the option, and what would be right.
func ParseBlock(d *caddyfile.Dispenser, lines []Line) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := parseLine(d, lines); err != nil {
			return err
		}
	}
	return nil
}

func parseLine(d *caddyfile.Dispenser, lines []Line) error {
	name := d.Val()
	i := find(lines, name)
	if i < 0 {
		return d.WrapErr(unknown(name, lines))
	}
	l := lines[i]
	if l.Barred != "" {
		return d.Errf("%s %s; here it can be %s", name, l.Barred, Names(lines))
	}
	if l.IsSet() && !l.Repeats {
		return d.Errf("%s is set twice; leave one of them out", name)
	}
	args := d.RemainingArgs()
	switch {
	case len(args) > l.Values && l.Values == 0:
		return d.Errf("%s takes no value; %q is too many", name, args[0])
	case len(args) > l.Values:
		return d.Errf("%s takes %s, %s; %q is too many", name, valuesText[l.Values], l.Want, args[l.Values])
	case len(args) < l.Values:
		return d.Errf("%s needs %s: %s", name, valuesText[l.Values], l.Want)
	}
	if err := l.Parse(args); err != nil {
		return d.Errf("%s: %v", name, err)
	}
	if d.NextLine() {
		d.Prev()
	} else if d.Next() { // on the same line as all arguments: a brace
		return d.Errf("%s takes no block", name)
	}
	return nil
}

// valuesText says how many values follow a name.
var valuesText = map[int]string{1: "one value", 3: "three values"}

// find returns the index of the line of a name, or -1.
func find(lines []Line, name string) int {
	return slices.IndexFunc(lines, func(l Line) bool { return l.Name == name })
}

// Names lists the lines that are allowed in a block.
func Names(lines []Line) string {
	var names []string
	for _, l := range lines {
		if l.Barred == "" {
			names = append(names, l.Name)
		}
	}
	return list(names)
}
