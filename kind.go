package sockopt

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// kind is a way to write the values of an option.
type kind[T any] struct {
	// want says what a value looks like, for errors and tables; wantJSON where that
	// is another in JSON.
	want, wantJSON string

	// parse reads a value from the Caddyfile, text writes it again.
	parse func(text string) (T, error)
	text  func(T) string

	// check says why the kernel's interface cannot take a value. JSON brings
	// values that parse has not seen.
	check func(T) error

	// kernel is the value for the kernel, in its unit; show is a value of the
	// kernel's as text would write it.
	kernel func(T) socket.Value
	show   func(socket.Value) string

	// upkeep tells the values that are not set once: a socket.Conn keeps
	// them up. Nil where all are.
	upkeep func(T) bool
}

// The kinds of the options in the table.
var (
	onOff = kind[bool]{
		want:     "on or off",
		wantJSON: wantBool,
		parse:    func(text string) (bool, error) { return text == "on", oneOf(text, "on", "off") },
		text:     onOrOff,
		kernel:   func(on bool) socket.Value { return socket.Value{Number: boolNumber(on)} },
		show:     func(v socket.Value) string { return onOrOff(v.Number != 0) },
	}

	ackModes = kind[socket.AckMode]{
		want: list([]socket.AckMode{socket.AckAuto, socket.AckOn, socket.AckOff}),
		parse: func(text string) (socket.AckMode, error) {
			return socket.AckMode(text), checkAckMode(socket.AckMode(text))
		},
		text:  func(mode socket.AckMode) string { return string(mode) },
		check: checkAckMode,
		kernel: func(mode socket.AckMode) socket.Value {
			return socket.Value{Number: boolNumber(mode != socket.AckOff)}
		},
		show:   func(v socket.Value) string { return onOrOff(v.Number != 0) },
		upkeep: func(mode socket.AckMode) bool { return mode != socket.AckOff },
	}

	reactions = kind[Unsupported]{
		want:  list([]Unsupported{unsupportedFail, unsupportedWarn}),
		parse: func(text string) (Unsupported, error) { return Unsupported(text), checkUnsupported(Unsupported(text)) },
		text:  func(u Unsupported) string { return string(u) },
		check: checkUnsupported,
	}

	names = kind[string]{
		want:  "a name such as bbr",
		parse: func(text string) (string, error) { return text, nil },
		text:  func(name string) string { return name },
		check: func(name string) error {
			// TCP_CA_NAME_MAX in the kernel's include/net/tcp.h is 16, with the
			// byte that ends a name.
			if name == "" || len(name) > 15 || strings.Trim(name, nameLetters) != "" {
				return fmt.Errorf("%q is not a name of 1 to 15 letters, digits, - and _, such as bbr", name)
			}
			return nil
		},
		kernel: func(name string) socket.Value { return socket.Value{Text: name} },
		show:   func(v socket.Value) string { return v.Text },
	}

	codePoints = kind[DSCP]{
		want:  wantDSCP,
		parse: ParseDSCP,
		text:  DSCP.String,
		check: func(d DSCP) error {
			_, err := dscpOf(int64(d))
			return err
		},
		// The lower two bits of the byte are the kernel's: ECN.
		kernel: func(d DSCP) socket.Value { return socket.Value{Number: int64(d) << 2} },
		show:   func(v socket.Value) string { return DSCP(v.Number >> 2).String() },
	}

	marks = numbers(0, math.MaxUint32, func(n Number) string { return fmt.Sprintf("%#x", int64(n)) })
)

// wantBool says what a switch looks like in JSON.
const wantBool = "true or false"

// nameLetters are what the names of the kernel's algorithms are made of.
const nameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

// sizes is the kind of an option in bytes.
func sizes(least, most Size) kind[Size] {
	return kind[Size]{
		want:   wantSize,
		parse:  ParseSize,
		text:   Size.String,
		check:  within(least, most, Size.String, " bytes"),
		kernel: func(s Size) socket.Value { return socket.Value{Number: int64(s)} },
		show:   func(v socket.Value) string { return Size(v.Number).String() },
	}
}

// durations is the kind of an option that the kernel counts in unit. What is no
// multiple of it is rounded up.
func durations(unit, least, most time.Duration) kind[Duration] {
	return kind[Duration]{
		want:  wantDuration,
		parse: ParseDuration,
		text:  Duration.String,
		check: within(Duration(least), Duration(most), Duration.String, ""),
		kernel: func(d Duration) socket.Value {
			n := int64(d) / int64(unit)
			if int64(d)%int64(unit) != 0 {
				n++
			}
			return socket.Value{Number: n}
		},
		show: func(v socket.Value) string { return Duration(v.Number * int64(unit)).String() },
	}
}

// numbers is the kind of an option that is a plain number. One beyond an int is an
// unsigned int, which the kernel gives back as the int of the same bits.
func numbers(least, most Number, text func(Number) string) kind[Number] {
	return kind[Number]{
		want:   wantNumber,
		parse:  ParseNumber,
		text:   text,
		check:  within(least, most, text, ""),
		kernel: func(n Number) socket.Value { return socket.Value{Number: int64(n)} },
		show: func(v socket.Value) string {
			if v.Number < 0 && most > math.MaxInt32 {
				v.Number += 1 << 32
			}
			return text(Number(v.Number))
		},
	}
}

// counts is the kind of an option that counts.
func counts(least, most Number) kind[Number] {
	return numbers(least, most, func(n Number) string { return strconv.FormatInt(int64(n), 10) })
}

// within is a check that a value is in a range, which its error names in a unit.
func within[T ~int64](least, most T, text func(T) string, unit string) func(T) error {
	return func(value T) error {
		if value < least || value > most {
			return fmt.Errorf("%s is not from %s to %s%s; leave the option out for the kernel's default",
				text(value), text(least), text(most), unit)
		}
		return nil
	}
}

func onOrOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func boolNumber(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func checkAckMode(mode socket.AckMode) error {
	return oneOf(mode, socket.AckAuto, socket.AckOn, socket.AckOff)
}

func checkUnsupported(u Unsupported) error { return oneOf(u, unsupportedFail, unsupportedWarn) }

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
	values() int   // how many follow the name
	repeats() bool // whether the option may be named again

	isSet(o *Options) bool
	parse(o *Options, args []string) error
	unmarshal(o *Options, text []byte) error // from JSON

	// uses are the values that are named, as settings of option.
	uses(o *Options, option socket.Option) []use

	// show is a value of the kernel's as the Caddyfile would write it.
	show(v socket.Value) string
}

// use is a value that is named for an option.
type use struct {
	text    string // as in the Caddyfile
	prefix  string // of text: what precedes the value itself
	err     error  // why it cannot be
	setting socket.Setting
	upkeep  bool // it is not set once: a socket.Conn keeps it up
}

// at is the field of an option of kind k that place finds in Options.
func at[T any](k kind[T], place func(*Options) **T) field { return fieldOf[T]{k, place} }

// mention is the field of an option that has no value: it is named, or it is not.
type mention struct{ place func(*Options) **bool }

func (mention) want() string                       { return "" }
func (mention) values() int                        { return 0 }
func (mention) repeats() bool                      { return false }
func (f mention) isSet(o *Options) bool            { on := *f.place(o); return on != nil && *on }
func (mention) uses(*Options, socket.Option) []use { return []use{{}} }
func (mention) show(socket.Value) string           { return "" }

func (f mention) parse(o *Options, _ []string) error {
	*f.place(o) = new(true)
	return nil
}

func (f mention) unmarshal(o *Options, text []byte) (err error) {
	*f.place(o), err = decode[bool](text, wantBool)
	return err
}

type fieldOf[T any] struct {
	kind  kind[T]
	place func(*Options) **T
}

func (f fieldOf[T]) want() string               { return f.kind.want }
func (f fieldOf[T]) values() int                { return 1 }
func (f fieldOf[T]) repeats() bool              { return false }
func (f fieldOf[T]) isSet(o *Options) bool      { return *f.place(o) != nil }
func (f fieldOf[T]) show(v socket.Value) string { return f.kind.show(v) }

func (f fieldOf[T]) parse(o *Options, args []string) error {
	value, err := f.kind.parse(args[0])
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
	*f.place(o), err = decode[T](text, cmp.Or(f.kind.wantJSON, f.kind.want))
	return err
}

func (f fieldOf[T]) uses(o *Options, option socket.Option) []use {
	value := **f.place(o)
	u := use{text: f.kind.text(value), upkeep: f.kind.upkeep != nil && f.kind.upkeep(value)}
	if f.kind.check != nil {
		u.err = f.kind.check(value)
	}
	if f.kind.kernel != nil {
		u.setting = socket.Setting{Option: option, Value: f.kind.kernel(value)}
	}
	return []use{u}
}
