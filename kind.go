package sockopt

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// kind is a way to write the values of an option.
type kind[T any] struct {
	// want says what a value looks like, for errors and tables.
	want string

	// parse reads a value from the Caddyfile, text writes it again.
	parse func(text string) (T, error)
	text  func(T) string

	// check says why the kernel's interface cannot take a value. JSON brings
	// values that parse has not seen.
	check func(T) error

	// kernel is the value for setsockopt(2). lasting is false where setting it
	// once is not enough, and a socket.Conn keeps it up.
	kernel func(T) (value int, lasting bool)
}

// The kinds of the options in the table.
var (
	onOff = kind[bool]{
		want: "on or off",
		parse: func(text string) (bool, error) {
			return text == "on", oneOf(text, "on", "off")
		},
		text: func(on bool) string {
			if on {
				return "on"
			}
			return "off"
		},
		check: func(bool) error { return nil },
		kernel: func(on bool) (int, bool) {
			if on {
				return 1, true
			}
			return 0, true
		},
	}

	ackModes = words(func(mode socket.AckMode) (int, bool) {
		if mode == socket.AckOff {
			return 0, true
		}
		return 1, false
	}, socket.AckAuto, socket.AckOn, socket.AckOff)

	unsupported = words(func(Unsupported) (int, bool) { return 0, false },
		unsupportedFail, unsupportedWarn)

	sizes = kind[Size]{
		want:  wantSize,
		parse: ParseSize,
		text:  Size.String,
		check: func(s Size) error {
			if s < 1 || s > math.MaxInt32 {
				return fmt.Errorf("%s is not from 1 to %d bytes; leave the option out for the kernel's default", s, math.MaxInt32)
			}
			return nil
		},
		kernel: func(s Size) (int, bool) { return int(s), true },
	}
)

// words is the kind of an option whose values are words.
func words[T ~string](kernel func(T) (int, bool), allowed ...T) kind[T] {
	return kind[T]{
		want:   list(allowed),
		parse:  func(text string) (T, error) { return T(text), oneOf(T(text), allowed...) },
		text:   func(word T) string { return string(word) },
		check:  func(word T) error { return oneOf(word, allowed...) },
		kernel: kernel,
	}
}

func oneOf[T ~string](text T, allowed ...T) error {
	if slices.Contains(allowed, text) {
		return nil
	}
	return fmt.Errorf("%q is not %s", string(text), list(allowed))
}

// list is "a, b or c".
func list[T ~string](words []T) string {
	var b strings.Builder
	for i, word := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(word))
	}
	return b.String()
}

// field is the place of an option in Options, in the forms that others need.
type field interface {
	want() string
	isSet(*Options) bool
	parse(o *Options, text string) error
	unset(*Options)

	// These are for a place that is set.
	text(*Options) string
	check(*Options) error
	kernel(*Options) (value int, lasting bool)
}

// at is the field of an option of kind k that place finds in Options.
func at[T any](k kind[T], place func(*Options) **T) field { return fieldOf[T]{k, place} }

type fieldOf[T any] struct {
	kind  kind[T]
	place func(*Options) **T
}

func (f fieldOf[T]) want() string                  { return f.kind.want }
func (f fieldOf[T]) isSet(o *Options) bool         { return *f.place(o) != nil }
func (f fieldOf[T]) unset(o *Options)              { *f.place(o) = nil }
func (f fieldOf[T]) text(o *Options) string        { return f.kind.text(**f.place(o)) }
func (f fieldOf[T]) check(o *Options) error        { return f.kind.check(**f.place(o)) }
func (f fieldOf[T]) kernel(o *Options) (int, bool) { return f.kind.kernel(**f.place(o)) }

func (f fieldOf[T]) parse(o *Options, text string) error {
	value, err := f.kind.parse(text)
	if err != nil {
		return err
	}
	if err := f.kind.check(value); err != nil {
		return err
	}
	*f.place(o) = &value
	return nil
}
