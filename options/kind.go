package options

import (
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
	// want says what a value looks like, for errors and tables, and is empty where
	// the option takes no value. wantJSON says it for JSON where that differs.
	want, wantJSON string

	// parse reads a value from the Caddyfile, text writes it again.
	parse func(text string) (T, error)
	text  func(T) string

	// decode reads a value from JSON, where that is not encoding/json's.
	decode func([]byte) (*T, error)

	// check says why a value is not allowed, whatever the system. Values from JSON
	// do not pass through parse.
	check func(T) error

	// kernel is the value for the kernel, in its unit; show is a value of the
	// kernel as text would write it. Both are nil for an option that the kernel does
	// not have, such as metrics.
	kernel func(T) socket.Value
	show   func(socket.Value) string
}

// The kinds of the options in the table.
var (
	onOff = kind[bool]{
		want:     "on or off",
		wantJSON: wantSwitch,
		decode:   decodeSwitch,
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
		show: func(v socket.Value) string { return onOrOff(v.Number != 0) },
	}

	// flag is the kind of a line that has no value.
	flag = kind[bool]{
		wantJSON: wantBool,
		parse:    func(string) (bool, error) { return true, nil },
		text:     func(bool) string { return "" },
	}

	reactions = kind[Unsupported]{
		want:  list([]Unsupported{Fail, Warn}),
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

	interfaces = kind[string]{
		want:  "the name of a network interface",
		parse: func(text string) (string, error) { return text, nil },
		text:  func(name string) string { return name },
		check: func(name string) error {
			// IFNAMSIZ in the kernel's include/uapi/linux/if.h is 16, with the byte that
			// ends a name.
			if name == "" || len(name) > 15 || strings.Trim(name, nameLetters+".@+") != "" {
				return fmt.Errorf("%q is not the name of a network interface", name)
			}
			return nil
		},
		kernel: func(name string) socket.Value { return socket.Value{Text: name} },
		show:   func(v socket.Value) string { return v.Text },
	}

	portRanges = kind[PortRange]{
		want:  wantPortRange,
		parse: ParsePortRange,
		text:  PortRange.String,
		check: PortRange.check,
		// The first port in the lower half, the last in the upper (ip(7)), as the int
		// that getsockopt returns.
		kernel: func(r PortRange) socket.Value {
			return socket.Value{Number: int64(int32(uint32(r.Last)<<16 | uint32(r.First)))} //nolint:gosec // the same bits
		},
		show: func(v socket.Value) string { return portRangeIn(v).String() },
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

func portRangeIn(v socket.Value) PortRange {
	return PortRange{First: uint16(v.Number), Last: uint16(v.Number >> 16)} //nolint:gosec // one half each
}

// What a switch and a flag look like in JSON.
const (
	wantSwitch = `true, false, "on" or "off"`
	wantBool   = "true or false"
)

// nameLetters may be in the name of an algorithm of the kernel.
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

// durations is the kind of an option that the kernel counts in unit. Other values
// are rounded up.
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

// numbers is the kind of an option that is a plain number. A number beyond an int is an
// unsigned int, which getsockopt returns as the int of the same bits.
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

func checkAckMode(mode socket.AckMode) error {
	return oneOf(mode, socket.AckAuto, socket.AckOn, socket.AckOff)
}

func checkUnsupported(u Unsupported) error { return oneOf(u, Fail, Warn) }

func oneOf[T ~string](text T, allowed ...T) error {
	if slices.Contains(allowed, text) {
		return nil
	}
	return fmt.Errorf("%q is not %s", string(text), list(allowed))
}

// list returns "a, b or c".
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
