package options

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// fix is how every refusal ends.
const fix = "; leave the option out, or set on_unsupported warn"

// change changes one row of the table until the test ends.
func change(t *testing.T, name string, how func(*row)) {
	t.Helper()
	old := rows
	t.Cleanup(func() { rows = old })
	rows = slices.Clone(rows)
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
	require.GreaterOrEqual(t, i, 0, "there is no row %q in options/options.go", name)
	how(&rows[i])
}

// entry is an entry in the log.
type entry struct {
	level                        zapcore.Level
	message                      string
	option, requested, effective string
	err                          string
}

// resolve resolves lines of the Caddyfile, and returns what was logged.
func resolve(t testing.TB, phases Phase, lines ...string) (Resolved, []entry, error) {
	t.Helper()
	o, err := parse(phases, block(lines...))
	require.NoError(t, err)
	core, logs := observer.New(zap.DebugLevel)
	resolved, err := o.Resolve(phases, zap.New(core))
	var entries []entry
	for _, logged := range logs.All() {
		text := func(key string) string {
			text, _ := logged.ContextMap()[key].(string)
			return text
		}
		entries = append(entries, entry{
			logged.Level, logged.Message, text("option"), text("requested"), text("effective"), text("error"),
		})
	}
	return resolved, entries, err
}

// requireRefused resolves lines whose first is refused: it fails the load, or is left
// out and logged with on_unsupported warn.
func requireRefused(t testing.TB, want string, phases Phase, lines ...string) {
	t.Helper()
	_, _, err := resolve(t, phases, lines...)
	require.EqualError(t, err, want+fix)

	name, value, _ := strings.Cut(lines[0], " ")
	resolved, logged, err := resolve(t, phases, append(lines, "on_unsupported warn")...)
	require.NoError(t, err)
	require.Equal(t, []entry{{
		level: zap.WarnLevel, message: "option left out: this system refuses it", option: name, err: want,
	}}, logged)
	require.True(t, slices.ContainsFunc(resolved.Effects, func(e Effect) bool {
		return e.Option == name && e.Requested == value && e.LeftOut == want && e.Effective == ""
	}), resolved.Effects)
	require.Len(t, resolved.Effects, len(lines), "the others are set")
	for phase, settings := range resolved.Settings {
		require.Len(t, settings, len(lines)-1, "phase %d", phase)
	}
}

func TestUnavailableOption(t *testing.T) {
	change(t, "nodelay", func(r *row) { r.option = socket.Option{Name: "TCP_FROM_THE_FUTURE"} })
	requireRefused(t, "nodelay off: TCP_FROM_THE_FUTURE is not available on "+runtime.GOOS, Accept, "nodelay off")
}

// TestAcknowledging: a mode that the connection keeps setting is not a setting, too.
func TestAcknowledging(t *testing.T) {
	byDefault := socket.AckAuto
	if !socket.QuickAck.Supported() {
		byDefault = socket.AckOff
	}
	for _, test := range []struct {
		phases Phase
		line   string
		ack    socket.AckMode
		set    []string
	}{
		{Accept, "", byDefault, nil},
		{Dial, "", byDefault, nil},
		{Route, "", "", nil},
		{Accept, "quickack auto", socket.AckAuto, nil},
		{Dial, "quickack on", socket.AckOn, nil},
		{Accept, "quickack off", socket.AckOff, []string{"TCP_QUICKACK 0"}},
	} {
		t.Run(test.line, func(t *testing.T) {
			if strings.HasPrefix(test.line, "quickack") && !socket.QuickAck.Supported() {
				t.Skip("this system has no TCP_QUICKACK")
			}
			resolved, logged, err := resolve(t, test.phases, test.line)
			require.NoError(t, err)
			require.Empty(t, logged)
			require.Equal(t, socket.AckOptions{Mode: test.ack}, resolved.Ack)
			require.Equal(t, test.set, texts(resolved.Settings[test.phases]))
		})
	}
}

// TestAckOptions: what quickack must know of the other options.
func TestAckOptions(t *testing.T) {
	row := rowNamed(t, "delayed_ack_max")
	if !row.option.Supported() || !socket.KernelHas(row.since) {
		t.Skip("this kernel has no delayed_ack_max")
	}
	for line, keep := range map[string]bool{"delayed_ack_max 40ms": true, "raw 6 46 40000": true, "ttl 42": false} {
		resolved, _, err := resolve(t, Accept, line)
		require.NoError(t, err)
		require.Equal(t, keep, resolved.Ack.KeepDelayedAckMax, line)
	}
}

// TestOrder: options are set in the order of the table, each in its phases.
func TestOrder(t *testing.T) {
	resolved, _, err := resolve(t, Listen|Accept, "send_buffer 64KiB", "nodelay on", "recv_buffer 4KiB")
	require.NoError(t, err)
	require.Equal(t, []string{"SO_RCVBUF 4096", "SO_SNDBUF 65536"}, texts(resolved.Settings[Listen]))
	require.Equal(t, []string{"TCP_NODELAY 1", "SO_RCVBUF 4096", "SO_SNDBUF 65536"}, texts(resolved.Settings[Accept]))
	require.Nil(t, resolved.Overrides)
}

func texts(settings []socket.Setting) (all []string) {
	for _, s := range settings {
		all = append(all, fmt.Sprint(s.Option.Name, " ", s.Value.Number))
	}
	return all
}

// TestMetrics: metrics is on where it is set, and TCP_INFO is Linux's.
func TestMetrics(t *testing.T) {
	resolved, _, err := resolve(t, Accept, "metrics")
	if !socket.QuickAck.Supported() {
		require.EqualError(t, err, "metrics reads what the kernel counts, which is not available on "+runtime.GOOS+"; leave it out")
		return
	}
	require.NoError(t, err)
	require.True(t, resolved.Metrics)
	off := &Options{Metrics: new(false)}
	resolved, err = off.Resolve(Accept, zap.NewNop())
	require.NoError(t, err)
	require.False(t, resolved.Metrics)
}

// TestResolveChecksValues: Go code, as JSON, can have values and options that no
// Caddyfile has.
func TestResolveChecksValues(t *testing.T) {
	_, err := (&Options{RecvBuffer: new(Size(0))}).Resolve(Accept, zap.NewNop())
	require.EqualError(t, err, "recv_buffer: 0 is not from 1 to 1073741823 bytes; leave the option out for the kernel's default")
	_, err = (&Options{Cork: new(true)}).Resolve(Listen|Accept, zap.NewNop())
	require.EqualError(t, err, "cork cannot be set here, but for the requests of a route (sockopt { cork … } in the site or route); here it can be "+listenerNames)
}
