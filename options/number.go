package options

import (
	"fmt"
	"strconv"
	"strings"
)

// Number is an integer. In JSON it is a number, or a string in decimal or, with
// 0x in front, in hexadecimal: 42, "0x2a".
type Number int64

// wantNumber says what a number looks like.
const wantNumber = "a number such as 42 or 0x2a"

// ParseNumber reads a decimal or, with 0x in front, a hexadecimal number.
func ParseNumber(text string) (Number, error) {
	digits, base := text, 10
	if hex, ok := strings.CutPrefix(text, "0x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseInt(digits, base, 64)
	if err != nil || digits[0] == '+' || base == 16 && digits[0] == '-' {
		return 0, fmt.Errorf("%q is not %s", text, wantNumber)
	}
	return Number(n), nil
}

// UnmarshalJSON reads a number or a string for ParseNumber.
func (n *Number) UnmarshalJSON(b []byte) (err error) {
	*n, err = fromJSON(b, wantNumber, ParseNumber)
	return err
}
