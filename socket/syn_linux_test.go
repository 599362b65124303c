package socket

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	ipv4SYN = "4500003c1c464000 4006 b1e6 c0a80068 c0a80001 "
	ipv6SYN = "6000000000280640 20010db8000000000000000000000001 20010db8000000000000000000000002 "
	tcpSYN  = "a0b4 01bb 00000001 00000000 a002 faf0 0000 0000 020405b4 0402 080a 00000001 00000000 01 030307"
)

func headers(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	require.NoError(t, err)
	return b
}

// TestParseSYN reads headers as the kernel returns them, and such as a client may make up.
func TestParseSYN(t *testing.T) {
	full := SYN{TTL: 64, Window: 64240, MSS: 1460, Scale: 7, Options: "2-4-8-1-3"}
	for name, test := range map[string]struct {
		headers string
		want    SYN
	}{
		"IPv4":                        {ipv4SYN + tcpSYN, full},
		"IPv6":                        {ipv6SYN + tcpSYN, full},
		"IPv6 with an extension":      {strings.Replace(ipv6SYN, "002806", "00303c", 1) + "0600 010400000000 " + tcpSYN, full},
		"no options":                  {ipv4SYN + "a0b4 01bb 00000001 00000000 5002 0400 0000 0000", SYN{TTL: 64, Window: 1024, MSS: -1, Scale: -1}},
		"options that end":            {ipv4SYN + "a0b4 01bb 00000001 00000000 7002 0400 0000 0000 01 00 020405b4 0101", SYN{TTL: 64, Window: 1024, MSS: -1, Scale: -1, Options: "1"}},
		"an option of no length":      {ipv4SYN + "a0b4 01bb 00000001 00000000 6002 0400 0000 0000 0200 05b4", SYN{TTL: 64, Window: 1024, MSS: -1, Scale: -1}},
		"an option beyond the header": {ipv4SYN + "a0b4 01bb 00000001 00000000 6002 0400 0000 0000 0101 0204", SYN{TTL: 64, Window: 1024, MSS: -1, Scale: -1, Options: "1-1"}},
	} {
		got, ok := parseSYN(headers(t, test.headers))
		require.True(t, ok, name)
		require.Equal(t, test.want, got, name)
	}
}

// FuzzParseSYN: whatever arrives, nothing panics.
func FuzzParseSYN(f *testing.F) {
	f.Add(headers(f, ipv4SYN+tcpSYN))
	f.Add(headers(f, ipv6SYN+tcpSYN))
	f.Fuzz(func(_ *testing.T, b []byte) { parseSYN(b) })
}
