package options

import (
	"cmp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// field is the place of an option in Options, in the forms that others need.
type field interface {
	want() string
	values() int   // how many follow the name
	repeats() bool // whether the option may be set more than once

	isSet(o *Options) bool
	parse(o *Options, args []string) error
	unmarshal(o *Options, text []byte) error // from JSON

	// uses are the values that are set, as settings of option.
	uses(o *Options, option socket.Option) []use

	// show is a value of the kernel as the Caddyfile would write it.
	show(v socket.Value) string
}

// use is a value that is set for an option.
type use struct {
	text    string // as in the Caddyfile
	prefix  string // of text: what precedes the value itself
	err     error  // why it is not allowed
	setting socket.Setting
}

// at is the field of an option of kind k that place finds in Options.
func at[T any](k kind[T], place func(*Options) **T) field { return fieldOf[T]{k, place} }

type fieldOf[T any] struct {
	kind  kind[T]
	place func(*Options) **T
}

func (f fieldOf[T]) want() string               { return f.kind.want }
func (f fieldOf[T]) repeats() bool              { return false }
func (f fieldOf[T]) isSet(o *Options) bool      { return *f.place(o) != nil }
func (f fieldOf[T]) show(v socket.Value) string { return f.kind.show(v) }

func (f fieldOf[T]) values() int {
	if f.kind.want == "" {
		return 0
	}
	return 1
}

func (f fieldOf[T]) parse(o *Options, args []string) error {
	var text string
	if len(args) > 0 {
		text = args[0]
	}
	value, err := f.kind.parse(text)
	if err != nil {
		return err
	}
	if f.kind.check != nil {
		if err := f.kind.check(value); err != nil {
			return err
		}
	}
	*f.place(o) = &value
	return nil
}

func (f fieldOf[T]) unmarshal(o *Options, text []byte) (err error) {
	if f.kind.decode != nil {
		*f.place(o), err = f.kind.decode(text)
		return err
	}
	*f.place(o), err = decode[T](text, cmp.Or(f.kind.wantJSON, f.kind.want))
	return err
}

func (f fieldOf[T]) uses(o *Options, option socket.Option) []use {
	value := **f.place(o)
	u := use{text: f.kind.text(value)}
	if f.kind.check != nil {
		u.err = f.kind.check(value)
	}
	if f.kind.kernel != nil {
		u.setting = socket.Setting{Option: option, Value: f.kind.kernel(value)}
	}
	return []use{u}
}
