package options

import (
	"encoding/json"
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
	places := map[string]**Number{"level": &r.Level, "option": &r.Option, "value": &r.Value}
	err := eachMember(b, wantRawJSON, func(name string, value []byte) (err error) {
		place, ok := places[name]
		if !ok {
			return fmt.Errorf("unknown %q in %s; it is not %s", name, b, wantRawJSON)
		}
		if *place, err = decode[Number](value, wantNumber); err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.check()
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

func (r RawOption) use() use {
	if err := r.check(); err != nil {
		return use{err: err}
	}
	prefix := fmt.Sprintf("%d %d ", *r.Level, *r.Option)
	return use{
		text:   prefix + fmt.Sprint(*r.Value),
		prefix: prefix,
		setting: socket.Setting{
			Option: socket.Raw(int(*r.Level), int(*r.Option)),
			Value:  socket.Value{Number: int64(*r.Value)},
		},
	}
}

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
		r, numbers := rows[i], raw.use().text
		if r.isSet(&named) {
			return nil, fmt.Errorf("raw %s sets %s, which is set as well; leave one of them out", numbers, r.name)
		}
		text := r.show(socket.Value{Number: int64(*raw.Value)})
		line := strings.TrimSpace(r.name + " " + text)
		if text != "" {
			if err := r.parse(&named, []string{text}); err != nil {
				return nil, fmt.Errorf("raw %s is %s: %w", numbers, line, err)
			}
		}
		if text == "" || r.option.Is(socket.QuickAck) || r.uses(&named, r.option)[0].setting.Value.Number != int64(*raw.Value) {
			return nil, fmt.Errorf("raw %s sets %s, which has a name here, and other values; write %s: %s", numbers, r.option.Name, line, r.want())
		}
		log.Info("raw "+numbers+" has a name, and is read as that option", Named(r.option), zap.String("requested", text))
	}
	return &named, nil
}

// rawField is the place of the raw options, the only ones that may repeat.
type rawField struct{}

func (rawField) want() string               { return wantRaw }
func (rawField) values() int                { return 3 }
func (rawField) repeats() bool              { return true }
func (rawField) isSet(o *Options) bool      { return len(o.Raw) > 0 }
func (rawField) show(v socket.Value) string { return fmt.Sprint(v.Number) }

func (rawField) parse(o *Options, args []string) error {
	var numbers [3]Number
	for i := range numbers {
		var err error
		if numbers[i], err = ParseNumber(args[i]); err != nil {
			return err
		}
	}
	r := RawOption{&numbers[0], &numbers[1], &numbers[2]}
	if err := r.check(); err != nil {
		return err
	}
	o.Raw = append(o.Raw, r)
	return nil
}

func (rawField) unmarshal(o *Options, text []byte) error {
	entries, err := decode[[]json.RawMessage](text, "a list such as ["+wantRawJSON+"]")
	if err != nil {
		return err
	}
	o.Raw = nil
	for _, entry := range *entries {
		var r RawOption
		if err := r.UnmarshalJSON(entry); err != nil {
			return err
		}
		o.Raw = append(o.Raw, r)
	}
	return nil
}

func (rawField) uses(o *Options, _ socket.Option) []use {
	uses := make([]use, len(o.Raw))
	for i, r := range o.Raw {
		uses[i] = r.use()
	}
	return uses
}
