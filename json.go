package sockopt

import (
	"encoding/json"
	"io"
)

// writeJSON writes indented JSON.
func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "\t")
	return encoder.Encode(value)
}
