package options

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// TestRawOfANamedNumber: it is the option of that name, with one line in the log.
func TestRawOfANamedNumber(t *testing.T) {
	for _, r := range rows {
		switch r.name {
		case "raw", "pacing_after", "metrics", "peers", "on_unsupported", "multipath", "backlog": // have no numbers
			continue
		case "quickack", "congestion", "interface": // have other values
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			requireKernel(t, r)
			listenPlain(t, r)
			expected, o := expect(t, r)
			line := r.name + " " + expected.Sample
			raw := fmt.Sprintf("%d %d %d", expected.Level, expected.Number, r.effects(o)[0].setting.Value.Number)
			want, wantLogged, err := resolve(t, r.phases, line)
			require.NoError(t, err)
			got, logged, err := resolve(t, r.phases, "raw "+raw)
			require.NoError(t, err)
			require.Equal(t, want.Settings, got.Settings)
			require.Equal(t, want.Overrides, got.Overrides)
			require.Equal(t, want.Ack, got.Ack)
			value := r.effects(o)[0].Requested
			require.Equal(t, entry{zap.InfoLevel, "raw " + raw + " has a name, and is read as that option", r.name, value, "", ""}, logged[0])
			require.Len(t, logged[1:], len(wantLogged))
			_, _, err = resolve(t, r.phases, line, "raw "+raw)
			require.EqualError(t, err, "raw "+raw+" sets "+r.name+", which is set as well; leave one of them out")
		})
	}
}

// TestRawOfANamedNumberRefused: where the value means something else, the error has the
// line to write.
func TestRawOfANamedNumberRefused(t *testing.T) {
	for line, want := range map[string]string{
		"raw 6 12 1":    "raw 6 12 1 sets TCP_QUICKACK, which has a name here, and other values; write quickack on: auto, on or off",
		"raw 0 1 185":   "raw 0 1 185 sets IP_TOS, IPV6_TCLASS, which has a name here, and other values; write dscp ef: " + wantDSCP,
		"raw 41 67 185": "raw 41 67 185 sets IP_TOS, IPV6_TCLASS, which has a name here, and other values; write dscp ef: " + wantDSCP,
		"raw 6 1 5":     "raw 6 1 5 sets TCP_NODELAY, which has a name here, and other values; write nodelay on: on or off",
		"raw 6 13 1":    "raw 6 13 1 sets TCP_CONGESTION, which has a name here, and other values; write congestion: a name such as bbr",
		"raw 6 18 -1":   `raw 6 18 -1 is user_timeout -1ms: "-1ms" is not ` + wantDuration,
		"raw 0 2 0":     "raw 0 2 0 is ttl 0: 0 is not from 1 to 255; leave the option out for the kernel's default",
		"raw 6 9 3":     "defer_accept cannot be set here, but on listening sockets (servers { listener_wrappers { sockopt { defer_accept … } } } in the global options)",
		"raw 1 8 0":     "raw 1 8 0 is recv_buffer 0: 0 is not from 1 to 1073741823 bytes; leave the option out for the kernel's default",
	} {
		t.Run(line, func(t *testing.T) {
			_, _, err := resolve(t, Dial, line)
			require.ErrorContains(t, err, want)
		})
	}
}
