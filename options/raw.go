package options

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// RawOption is an option that has no name here, by its numbers in the kernel's
// headers. Example: level 0 (IP), option 10 (IP_MTU_DISCOVER), value 0.
type RawOption struct {
	// First number of setsockopt(2): 1 is SOL_SOCKET, 6 IPPROTO_TCP.
	Level *Number `json:"level"`

	// Second number of setsockopt(2).
	Option *Number `json:"option"`

	// The value, an int: write all bits set as -1.
	Value *Number `json:"value"`
}

const (
	wantRaw     = "level, option and value, such as 0 10 0"
	wantRawJSON = `{"level": 0, "option": 10, "value": 0}`
)

// UnmarshalJSON reads the three numbers by their names.
func (r *RawOption) UnmarshalJSON(b []byte) error {
	numbers := map[string]**Number{"level": &r.Level, "option": &r.Option, "value": &r.Value}
	err := eachMember(b, wantRawJSON, func(name string, value []byte) (err error) {
		number, ok := numbers[name]
		if !ok {
			return fmt.Errorf("unknown %q in %s; it is not %s", name, b, wantRawJSON)
		}
		if *number, err = decode[Number](value, wantNumber); err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
		return nil
	})
	return cmp.Or(err, r.check())
}

func (r RawOption) check() error {
	for _, part := range []struct {
		name        string
		number      *Number
		least, most Number
	}{
		{"level", r.Level, 0, math.MaxInt32},
		{"option", r.Option, 0, math.MaxInt32},
		{"value", r.Value, math.MinInt32, math.MaxInt32},
	} {
		if part.number == nil {
			return fmt.Errorf("%s is missing; raw takes %s", part.name, wantRaw)
		}
		if *part.number < part.least || *part.number > part.most {
			return fmt.Errorf("%s %d is not from %d to %d", part.name, *part.number, part.least, part.most)
		}
	}
	return nil
}

// numbers returns the option's as in the Caddyfile.
func (r RawOption) numbers() string { return fmt.Sprint(*r.Level, *r.Option, *r.Value) }

// named returns the options with each raw one whose numbers have a name as the option of
// that name, which is an error where the value means something else by its name.
func (o *Options) named(log *zap.Logger) (*Options, error) {
	named := *o
	named.Raw = nil
	for _, raw := range o.Raw {
		if err := raw.check(); err != nil {
			return nil, fmt.Errorf("raw: %w", err)
		}
		i := slices.IndexFunc(rows, func(r row) bool { return r.option.Numbered(int(*raw.Level), int(*raw.Option)) })
		if i < 0 {
			named.Raw = append(named.Raw, raw)
			continue
		}
		r := rows[i]
		if r.isSet(&named) {
			return nil, fmt.Errorf("raw %s sets %s, which is set as well; leave one of them out", raw.numbers(), r.name)
		}
		text := r.show(socket.Value{Number: int64(*raw.Value)})
		line := strings.TrimSpace(r.name + " " + text)
		if text != "" {
			if err := r.parse(&named, []string{text}); err != nil {
				return nil, fmt.Errorf("raw %s is %s: %w", raw.numbers(), line, err)
			}
		}
		if text == "" || r.option.Is(socket.QuickAck) || r.effects(&named)[0].setting.Value.Number != int64(*raw.Value) {
			return nil, fmt.Errorf("raw %s sets %s, which has a name here, and other values; write %s: %s", raw.numbers(), r.option.Name, line, r.want)
		}
		log.Info("raw "+raw.numbers()+" has a name, and is read as that option", Named(r.option), zap.String("requested", text))
	}
	return &named, nil
}

// rawKind is the kind of the raw options, whose field is a *[]RawOption.
var rawKind = kind{
	want:  wantRaw,
	words: 3,
	parse: func(field any, words []string) error {
		var numbers [3]Number
		for i := range numbers {
			var err error
			if numbers[i], err = ParseNumber(words[i]); err != nil {
				return err
			}
		}
		raw, all := RawOption{&numbers[0], &numbers[1], &numbers[2]}, field.(*[]RawOption)
		*all = append(*all, raw)
		return raw.check()
	},
	unmarshal: func(field any, text []byte) error {
		all, err := decode[[]RawOption](text, "a list such as ["+wantRawJSON+"]")
		if err == nil {
			*field.(*[]RawOption) = append([]RawOption(nil), *all...) // nil for an empty list
		}
		return err
	},
	check: func(any) error { return nil }, // named has checked them
	effects: func(field any, r row) (effects []Effect) {
		for _, raw := range *field.(*[]RawOption) {
			effects = append(effects, Effect{Option: r.name, Requested: raw.numbers(), setting: socket.Setting{
				Option: socket.Raw(int(*raw.Level), int(*raw.Option)),
				Value:  socket.Value{Number: int64(*raw.Value)},
			}})
		}
		return effects
	},
	show: func(v socket.Value) string { return fmt.Sprint(v.Number) },
}
