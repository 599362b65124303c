package sockopt

import (
	"fmt"
	"math"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// RawOption is an option that has no name here, by its numbers in the kernel's
// headers. Example: level 6 (TCP), option 18 (TCP_USER_TIMEOUT), value 30000.
type RawOption struct {
	// First number of setsockopt(2): 1 is SOL_SOCKET, 6 IPPROTO_TCP.
	Level Number `json:"level"`

	// Second number of setsockopt(2).
	Option Number `json:"option"`

	// The value, an int.
	Value Number `json:"value"`
}

const wantRaw = "level, option and value, three numbers such as 6 18 30000"

func (r RawOption) check() error {
	for _, n := range []Number{r.Level, r.Option} {
		if n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("%d must be from 0 to %d", n, math.MaxInt32)
		}
	}
	if r.Value < math.MinInt32 || r.Value > math.MaxUint32 {
		return fmt.Errorf("value %d must fit 32 bits", r.Value)
	}
	return nil
}

func (r RawOption) String() string { return fmt.Sprintf("%d %d %d", r.Level, r.Option, r.Value) }

func (r RawOption) setting() socket.Setting {
	return socket.Setting{
		Option: socket.Raw(int(r.Level), int(r.Option)),
		Value:  socket.Value{Number: int64(r.Value)},
	}
}

// rawField is the place of the raw options, the only ones that may repeat.
type rawField struct{}

func (rawField) want() string               { return wantRaw }
func (rawField) values() int                { return 3 }
func (rawField) repeats() bool              { return true }
func (rawField) isSet(o *Options) bool      { return len(o.Raw) > 0 }
func (rawField) unset(o *Options)           { o.Raw = nil }
func (rawField) show(v socket.Value) string { return fmt.Sprint(v.Number) }

func (rawField) parse(o *Options, args []string) error {
	var numbers [3]Number
	for i := range numbers {
		var err error
		if numbers[i], err = ParseNumber(args[i]); err != nil {
			return err
		}
	}
	r := RawOption{numbers[0], numbers[1], numbers[2]}
	if err := r.check(); err != nil {
		return err
	}
	o.Raw = append(o.Raw, r)
	return nil
}

func (rawField) uses(o *Options, _ socket.Option) []use {
	var uses []use
	for _, r := range o.Raw {
		uses = append(uses, use{text: r.String(), err: r.check(), setting: r.setting()})
	}
	return uses
}
