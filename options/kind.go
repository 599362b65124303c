package options

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// kind is how the values of an option are written. The functions that have a field are
// given a pointer to the option's field of Options.
type kind struct {
	want  string // what a value looks like; empty where the option takes none
	words int    // how many follow the name in the Caddyfile

	parse     func(field any, words []string) error
	unmarshal func(field any, text []byte) error // from JSON

	// check says why a value is not allowed, whatever the system.
	check func(field any) error

	// effects has one for each value that is set, with what is requested of r.
	effects func(field any, r row) []Effect

	// show is a value of the kernel as the Caddyfile would write it.
	show func(v socket.Value) string
}

// values are what a kind of Ts is made of.
type values[T any] struct {
	want string // that of the kind

	// parse reads a value from the Caddyfile, text writes it again. Nil is fmt.Sprint.
	parse func(text string) (T, error)
	text  func(T) string

	// decode reads a value from JSON, where that is not encoding/json's.
	decode func([]byte) (*T, error)

	// check says why a value is not allowed. Values from JSON do not pass through parse. Nil where each is.
	check func(T) error

	// kernel is the value for the kernel, in its unit. It is nil for an option that the
	// kernel does not have, such as metrics, and so is show.
	kernel func(T) socket.Value
	show   func(socket.Value) string
}

// kindOf is the kind of an option whose field of Options is a *T.
func kindOf[T any](v values[T]) kind {
	if v.text == nil {
		v.text = func(value T) string { return fmt.Sprint(value) }
	}
	if v.decode == nil {
		v.decode = func(text []byte) (*T, error) { return decode[T](text, v.want) }
	}
	if v.check == nil {
		v.check = func(T) error { return nil }
	}
	return kind{
		want:  v.want,
		words: min(len(v.want), 1),
		parse: func(field any, words []string) error {
			value, err := v.parse(strings.Join(words, ""))
			if err = cmp.Or(err, v.check(value)); err == nil {
				*field.(**T) = &value
			}
			return err
		},
		unmarshal: func(field any, text []byte) (err error) {
			*field.(**T), err = v.decode(text)
			return err
		},
		check: func(field any) error { return v.check(**field.(**T)) },
		effects: func(field any, r row) []Effect {
			value := **field.(**T)
			e := Effect{Option: r.name, Requested: v.text(value)}
			if v.kernel != nil {
				e.setting = socket.Setting{Option: r.option, Value: v.kernel(value)}
			}
			return []Effect{e}
		},
		show: v.show,
	}
}

// The kinds of the options in the table.
var (
	onOff = kindOf(values[bool]{
		want:   "on or off",
		decode: decodeSwitch,
		parse:  func(text string) (bool, error) { return text == "on", oneOf(text, "on", "off") },
		text:   onOrOff,
		kernel: func(on bool) socket.Value { return socket.Value{Number: boolNumber(on)} },
		show:   func(v socket.Value) string { return onOrOff(v.Number != 0) },
	})

	// flag is the kind of a line that has no value.
	flag = kindOf(values[bool]{
		decode: func(text []byte) (*bool, error) { return decode[bool](text, "true or false") },
		parse:  func(string) (bool, error) { return true, nil },
		text:   func(bool) string { return "" },
	})

	ackModes = oneWord(func(mode socket.AckMode) socket.Value {
		return socket.Value{Number: boolNumber(mode != socket.AckOff)}
	}, socket.AckAuto, socket.AckOn, socket.AckOff)

	reactions = oneWord(nil, Fail, Warn)

	// TCP_CA_NAME_MAX in the kernel's include/net/tcp.h and IFNAMSIZ in its
	// include/uapi/linux/if.h are 16, with the byte that ends a name.
	names      = named("a name such as bbr", "a name of 1 to 15 letters, digits, - and _, such as bbr", "")
	interfaces = named("the name of a network interface", "the name of a network interface", ".@+")

	portRanges = kindOf(values[PortRange]{
		want:  wantPortRange,
		parse: ParsePortRange,
		check: PortRange.check,
		// The first port in the lower half, the last in the upper (ip(7)), as the int that getsockopt returns.
		kernel: func(r PortRange) socket.Value {
			return socket.Value{Number: int64(int32(uint32(r.Last)<<16 | uint32(r.First)))} //nolint:gosec // the same bits
		},
		show: func(v socket.Value) string { return portRangeIn(v).String() },
	})

	codePoints = kindOf(values[DSCP]{
		want:  wantDSCP,
		parse: ParseDSCP,
		check: DSCP.check,
		// The lower two bits of the byte are the kernel's: ECN.
		kernel: func(d DSCP) socket.Value { return socket.Value{Number: int64(d) << 2} },
		show:   func(v socket.Value) string { return DSCP(v.Number >> 2).String() },
	})

	marks = numbers(0, math.MaxUint32, func(n Number) string { return fmt.Sprintf("%#x", int64(n)) })
)

func portRangeIn(v socket.Value) PortRange {
	return PortRange{First: uint16(v.Number), Last: uint16(v.Number >> 16)} //nolint:gosec // one half each
}

// oneWord is the kind of an option whose values are some words.
func oneWord[T ~string](kernel func(T) socket.Value, words ...T) kind {
	return kindOf(values[T]{
		want:   list(words),
		parse:  func(text string) (T, error) { return T(text), nil },
		check:  func(word T) error { return oneOf(word, words...) },
		kernel: kernel,
		show:   func(v socket.Value) string { return onOrOff(v.Number != 0) },
	})
}

// named is the kind of an option whose values are names in the kernel, of these letters beside the usual ones.
func named(want, is, letters string) kind {
	letters += "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	return kindOf(values[string]{
		want:  want,
		parse: func(text string) (string, error) { return text, nil },
		check: func(name string) error {
			if name == "" || len(name) > 15 || strings.Trim(name, letters) != "" {
				return fmt.Errorf("%q is not %s", name, is)
			}
			return nil
		},
		kernel: func(name string) socket.Value { return socket.Value{Text: name} },
		show:   func(v socket.Value) string { return v.Text },
	})
}

// sizes is the kind of an option in bytes.
func sizes(least, most Size) kind {
	return kindOf(values[Size]{
		want:   wantSize,
		parse:  ParseSize,
		check:  within(least, most, Size.String, " bytes"),
		kernel: func(s Size) socket.Value { return socket.Value{Number: int64(s)} },
		show:   func(v socket.Value) string { return Size(v.Number).String() },
	})
}

// durations is the kind of an option that the kernel counts in unit. Other values are rounded up.
func durations(unit, least, most time.Duration) kind {
	return kindOf(values[Duration]{
		want:  wantDuration,
		parse: ParseDuration,
		check: within(Duration(least), Duration(most), Duration.String, ""),
		kernel: func(d Duration) socket.Value {
			n := int64(d) / int64(unit)
			if int64(d)%int64(unit) != 0 {
				n++
			}
			return socket.Value{Number: n}
		},
		show: func(v socket.Value) string { return Duration(v.Number * int64(unit)).String() },
	})
}

// numbers is the kind of an option that is a plain number. A number beyond an int is an
// unsigned int, which getsockopt returns as the int of the same bits.
func numbers(least, most Number, text func(Number) string) kind {
	return kindOf(values[Number]{
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
	})
}

// counts is the kind of an option that counts.
func counts(least, most Number) kind {
	return numbers(least, most, func(n Number) string { return strconv.FormatInt(int64(n), 10) })
}

// within checks that a value is in a range. Its error has the range with the unit.
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

func oneOf[T ~string](text T, allowed ...T) error {
	if slices.Contains(allowed, text) {
		return nil
	}
	return fmt.Errorf("%q is not %s", string(text), list(allowed))
}

// list returns "a, b or c".
func list[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, word := range words {
		texts[i] = string(word)
	}
	return english.WordSeries(texts, "or")
}
