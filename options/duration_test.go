package options

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDurationJSON: a number is nanoseconds, and what is printed is a string.
func TestDurationJSON(t *testing.T) {
	for _, test := range []struct {
		json  string
		want  *Duration
		again string
	}{
		{`{"user_timeout":"30s"}`, new(Duration(30 * time.Second)), `{"user_timeout":"30s"}`},
		{`{"user_timeout":"1d"}`, new(Duration(24 * time.Hour)), `{"user_timeout":"24h"}`},
		{`{"user_timeout":30000000000}`, new(Duration(30 * time.Second)), `{"user_timeout":"30s"}`},
		{`{"user_timeout":1000000}`, new(Duration(time.Millisecond)), `{"user_timeout":"1ms"}`},
		{`{"user_timeout":"1us"}`, new(Duration(time.Microsecond)), `{"user_timeout":"1us"}`},
		{`{"user_timeout":0}`, new(Duration(0)), `{"user_timeout":"0s"}`},
		{`{"user_timeout":"0s"}`, new(Duration(0)), `{"user_timeout":"0s"}`},
		{`{}`, nil, `{}`},
	} {
		t.Run(test.json, func(t *testing.T) {
			var o Options
			require.NoError(t, json.Unmarshal([]byte(test.json), &o))
			require.Equal(t, test.want, o.UserTimeout)

			text, err := json.Marshal(o)
			require.NoError(t, err)
			require.Equal(t, test.again, string(text))
			var same Options
			require.NoError(t, json.Unmarshal(text, &same))
			require.Equal(t, o, same)
		})
	}
}

// TestDurationJSONRefuses: a number below a millisecond in nanoseconds was meant in
// another unit.
func TestDurationJSONRefuses(t *testing.T) {
	const unit = ` is nanoseconds, as every number is; write a string with a unit, such as "30s"`
	const other = " is not a duration such as 40ms, 30s or 2h"
	for _, test := range []struct{ value, want string }{
		{`7`, unit},
		{`30000`, unit},
		{`999999`, unit},
		{`-1`, other},
		{`1.5`, other},
		{`"30"`, other},
		{`null`, other},
	} {
		t.Run(test.value, func(t *testing.T) {
			err := json.Unmarshal([]byte(`{"user_timeout":`+test.value+`}`), new(Options))
			require.EqualError(t, err, "user_timeout: "+test.value+test.want)
		})
	}
}
