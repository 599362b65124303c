package sockopt

import (
	"fmt"
	"strconv"
)

// Number is an integer. In JSON it is a number, or a string in decimal or, with
// 0x in front, in hexadecimal: 42, "0x2a".
type Number int64

// wantNumber says what a number looks like.
const wantNumber = "a number such as 42 or 0x2a"

// ParseNumber reads a decimal or, with 0x in front, a hexadecimal number.
func ParseNumber(text string) (Number, error) {
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not %s", text, wantNumber)
	}
	return Number(n), nil
}

// UnmarshalJSON reads a number or a string for ParseNumber.
func (n *Number) UnmarshalJSON(b []byte) (err error) {
	*n, err = fromJSON(b, wantNumber, func(n int64) (Number, error) { return Number(n), nil }, ParseNumber)
	return err
}
