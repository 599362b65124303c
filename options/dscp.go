package options

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// DSCP is a differentiated services code point, 0 to 63. In JSON it is a number,
// or a string with its name or number: 46, "ef".
type DSCP uint8

// wantDSCP says what a code point looks like.
const wantDSCP = "a code point: ef, af11 to af43, cs0 to cs7, le, va, or 0 to 63"

// dscpNames are the code points of RFC 2474 (cs), 2597 (af), 3246 (ef), 5865 (va) and 8622 (le).
var dscpNames = map[string]DSCP{
	"cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56,
	"af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22,
	"af31": 26, "af32": 28, "af33": 30, "af41": 34, "af42": 36, "af43": 38,
	"ef": 46, "va": 44, "le": 1,
}

// ParseDSCP reads the name or the number of a code point.
func ParseDSCP(text string) (DSCP, error) {
	if d, ok := dscpNames[text]; ok {
		return d, nil
	}
	n, err := strconv.ParseUint(text, 10, 6)
	if err != nil {
		return 0, fmt.Errorf("%q is not %s", text, wantDSCP)
	}
	return DSCP(n), nil
}

// String returns the name of the code point, or its number where it has none.
func (d DSCP) String() string {
	for name, other := range dscpNames {
		if other == d {
			return name
		}
	}
	return strconv.Itoa(int(d))
}

func (d DSCP) check() error {
	_, err := ParseDSCP(d.String())
	return err
}

// MarshalJSON writes what String returns.
func (d DSCP) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a number or a string for ParseDSCP.
func (d *DSCP) UnmarshalJSON(b []byte) (err error) {
	*d, err = fromJSON(b, wantDSCP, ParseDSCP)
	return err
}
