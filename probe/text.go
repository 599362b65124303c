package probe

import (
	"fmt"
	"strconv"
	"strings"
)

// mostText is how many characters of a text from the network are printed.
const mostText = 300

// printable returns s as it may be printed: without what a terminal could take for a
// command or for a change of the writing direction, and of a sane length.
func printable(s string) string {
	short := fmt.Sprintf("%.*s", mostText, s)
	quoted := strconv.Quote(short)
	quoted = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(quoted[1 : len(quoted)-1]) // these are printable
	if len(short) < len(s) {
		quoted += "…"
	}
	return quoted
}
