package options

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseSize(t *testing.T) {
	for _, test := range []struct {
		text string
		want Size
	}{
		{"0", 0},
		{"10000", 10_000},
		{"1B", 1},
		{"64KiB", 64 << 10},
		{"64kib", 64 << 10},
		{"64 KiB", 64 << 10},
		{"1MB", 1_000_000},
		{"1MiB", 1 << 20},
		{"1.5MiB", 3 << 19},
		{"7EiB", 7 << 60},
		{"9007199254740993", 1<<53 + 1}, // no float64 holds it
		{"9223372036854775807", math.MaxInt64},
	} {
		t.Run(test.text, func(t *testing.T) {
			got, err := ParseSize(test.text)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

// notSizes are texts that no size can be.
var notSizes = []string{
	"", "-1", "+1", "big", "KiB", "64KiBs", "64Kib/s", "1e3", "0x10", "1_000",
	"1.5", "1,5MB", "10,000", "1 2", "8EiB", "9223372036854775808", "99999999999999999999", "∞", "٣", "NaN",
}

func TestParseSizeRefuses(t *testing.T) {
	for _, text := range notSizes {
		t.Run(text, func(t *testing.T) {
			_, err := ParseSize(text)
			require.ErrorContains(t, err, "is not a size such as 64KiB, 1MB or a number of bytes")
		})
	}
}

func TestSizePrintsTheLargestUnit(t *testing.T) {
	for _, test := range []struct {
		size Size
		want string
	}{
		{0, "0"},
		{1, "1"},
		{1000, "1KB"},
		{1500, "1500"},
		{256_000, "256KB"}, // and not 250KiB
		{10_240_000, "10000KiB"},
		{3_000_000, "3MB"},
		{1023, "1023"},
		{1024, "1KiB"},
		{1025, "1025"},
		{1_048_576, "1MiB"},
		{1536 << 10, "1536KiB"},
		{math.MaxInt64, "9223372036854775807"},
		{7 << 60, "7EiB"},
	} {
		t.Run(test.want, func(t *testing.T) {
			require.Equal(t, test.want, test.size.String())
		})
	}
}

func TestSizeJSON(t *testing.T) {
	for _, test := range []struct {
		json string
		want *Size
	}{
		{`{"recv_buffer": 262144}`, new(Size(262_144))},
		{`{"recv_buffer": "262144"}`, new(Size(262_144))},
		{`{"recv_buffer": "256KiB"}`, new(Size(262_144))},
		{`{"recv_buffer": 9007199254740993}`, new(Size(1<<53 + 1))},
		{`{"recv_buffer": 0}`, new(Size(0))},
		{`{}`, nil},
	} {
		t.Run(test.json, func(t *testing.T) {
			var o Options
			require.NoError(t, json.Unmarshal([]byte(test.json), &o))
			require.Equal(t, test.want, o.RecvBuffer)

			again, err := json.Marshal(o)
			require.NoError(t, err)
			var same Options
			require.NoError(t, json.Unmarshal(again, &same))
			require.Equal(t, o, same)
		})
	}
}

func TestSizeJSONRefuses(t *testing.T) {
	for _, test := range []struct{ name, value string }{
		{"negative", `-1`},
		{"fraction", `1.5`},
		{"whole fraction", `1.0`},
		{"exponent", `1e3`},
		{"beyond 63 bits", `9223372036854775808`},
		{"beyond a float64", `1e999`},
		{"null", `null`},
		{"switch", `true`},
		{"list", `[1]`},
		{"object", `{"bytes":1}`},
		{"negative text", `"-1"`},
		{"empty text", `""`},
		{"word", `"big"`},
		{"unknown unit", `"1XB"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := json.Unmarshal([]byte(`{"recv_buffer": `+test.value+`}`), new(Options))
			require.EqualError(t, err, "recv_buffer: "+test.value+" is not a size such as 64KiB, 1MB or a number of bytes")
		})
	}
}
