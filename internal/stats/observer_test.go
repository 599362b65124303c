package stats

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// newObserved returns an observer of a new origin, and its log.
func newObserved(t *testing.T) (*Observer, *observer.ObservedLogs) {
	t.Helper()
	inNewRegistry(t)
	core, logs := observer.New(zap.DebugLevel)
	return NewObserver(For(Origin{Direction: Accepted, Address: t.Name()}), zap.New(core), false), logs
}

// unnamed is a connection whose methods must not be called.
type unnamed struct{ net.Conn }

// TestObserverLogs: one entry of each kind in ten seconds, with the number so far. A
// refusal that comes often does not hide another one.
func TestObserverLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, logs := newObserved(t)
		conn, peer := net.Pipe()
		defer conn.Close()
		defer peer.Close()
		fail := func() {
			for range 3 {
				o.Refused(conn, socket.NoDelay, syscall.ENOPROTOOPT)
				o.Refused(conn, socket.NoDelay, syscall.EINVAL)
				o.Refused(conn, socket.TTL, net.ErrClosed)
				o.Unreachable(unnamed{}, errors.New("no socket"))
			}
		}
		type entry struct {
			message, option, kernel, err, kind any
			soFar                              any
		}
		logged := func() (entries []entry) {
			for _, e := range logs.TakeAll() {
				require.Equal(t, zap.WarnLevel, e.Level)
				m := e.ContextMap()
				entries = append(entries, entry{e.Message, m["option"], m["kernel"], m["error"], m["type"], m["errors_so_far"]})
			}
			return entries
		}
		const refused = "option refused by a connection, which goes on without it"
		want := func(soFar uint64) []entry {
			return []entry{
				{refused, "nodelay", "TCP_NODELAY", syscall.ENOPROTOOPT.Error(), nil, soFar},
				{refused, "nodelay", "TCP_NODELAY", syscall.EINVAL.Error(), nil, soFar},
				{refused, "ttl", socket.TTL.Name, net.ErrClosed.Error(), nil, soFar},
				{"cannot reach the socket of a connection; its options are not set", nil, nil, "no socket", "stats.unnamed", soFar},
			}
		}
		fail()
		require.Equal(t, want(1), logged())
		time.Sleep(9 * time.Second)
		fail()
		require.Empty(t, logged())
		time.Sleep(2 * time.Second)
		fail()
		require.Equal(t, want(7), logged())
	})
}

// TestObserverCounts: what a connection does and refuses is in its counter, and in no
// other.
func TestObserverCounts(t *testing.T) {
	conn, peer := net.Pipe()
	defer conn.Close()
	defer peer.Close()
	for _, test := range []struct {
		counter Counter
		event   func(o *Observer)
	}{
		{Connections, (*Observer).Connected},
		{Acknowledged, (*Observer).Acknowledged},
		{Wasted, func(o *Observer) { o.Wasted(nil) }},
		{Patient, func(o *Observer) { o.BecamePatient(nil) }},
		{Unreachable, func(o *Observer) { o.Unreachable(conn, net.ErrClosed) }},
	} {
		t.Run(test.counter.name, func(t *testing.T) {
			o, _ := newObserved(t)
			want := map[string]any{"refused": []Refusal{}}
			for _, c := range counters {
				want[c.name] = uint64(0)
			}
			want[test.counter.name] = uint64(2)
			test.event(o)
			test.event(o)
			require.Equal(t, want, o.Now())
		})
	}
	t.Run("refused", func(t *testing.T) {
		o, _ := newObserved(t)
		o.Refused(conn, socket.TTL, syscall.EINVAL)
		o.Refused(conn, socket.QuickAck, syscall.EINVAL)
		o.Refused(conn, socket.Raw(6, 18), errors.New("of another kind"))
		o.Refused(conn, socket.QuickAck, syscall.EINVAL)
		einval := socket.ErrnoName(syscall.EINVAL)
		require.Equal(t, []Refusal{
			{"ttl", "IP_TTL, IPV6_UNICAST_HOPS", einval, 1},
			{"quickack", "TCP_QUICKACK", einval, 2},
			{"raw", "level 6 option 18", "of another kind", 1},
		}, o.Refusals())
	})
}
