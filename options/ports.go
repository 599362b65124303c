package options

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// PortRange is a range of ports, from the first to the last. In JSON it is a string such as "40000-49999".
type PortRange struct{ First, Last uint16 }

// wantPortRange says what a range of ports looks like.
const wantPortRange = "a range of ports such as 40000-49999"

// ParsePortRange reads two ports with a hyphen between them.
func ParsePortRange(text string) (PortRange, error) {
	first, last, ok := strings.Cut(text, "-")
	from, fromErr := strconv.ParseUint(first, 10, 16)
	to, toErr := strconv.ParseUint(last, 10, 16)
	r := PortRange{uint16(from), uint16(to)}
	if !ok || fromErr != nil || toErr != nil || r.check() != nil {
		return PortRange{}, fmt.Errorf("%q is not %s", text, wantPortRange)
	}
	return r, nil
}

func (r PortRange) check() error {
	if r.First < 1 || r.Last < r.First {
		return fmt.Errorf("%s is not %s", r, wantPortRange)
	}
	return nil
}

// String returns the range so that ParsePortRange gives the same one back.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// MarshalJSON writes what String returns.
func (r PortRange) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// UnmarshalJSON reads a string for ParsePortRange.
func (r *PortRange) UnmarshalJSON(b []byte) (err error) {
	*r, err = fromJSON(b, wantPortRange, ParsePortRange)
	return err
}
