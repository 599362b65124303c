package socket

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// refusalLog lists what connections refused.
type refusalLog []string

func (l *refusalLog) Refused(_ net.Conn, o Option, err error) {
	*l = append(*l, fmt.Sprint(o.Name, ": ", err))
}

// overridable is a connection with its overrides.
type overridable struct {
	*net.TCPConn
	overrides *Overrides
	refused   refusalLog
	t         *testing.T
}

func newOverridable(t *testing.T) *overridable {
	t.Helper()
	c := &overridable{t: t}
	c.TCPConn, _ = pair(t)
	c.overrides = NewOverrides(c.TCPConn)
	return c
}

// holder returns a hold of settings, which are effective as they are.
func (c *overridable) holder(settings ...Setting) *Hold {
	h := new(Hold)
	for _, s := range settings {
		h.Overrides = append(h.Overrides, Override{s, s.Value, &c.refused})
	}
	return h
}

func (c *overridable) hold(h *Hold) {
	c.overrides.Holds = append(c.overrides.Holds, h)
	c.overrides.Update()
}

func (c *overridable) release(h *Hold) {
	c.overrides.Holds = slices.DeleteFunc(c.overrides.Holds, func(other *Hold) bool { return other == h })
	c.overrides.Update()
}

func (c *overridable) releaseAll() {
	c.overrides.Holds = c.overrides.Holds[:0]
	c.overrides.Update()
}

// requireAll requires the values of the connection's options, and that none was refused.
func (c *overridable) requireAll(want ...Setting) {
	c.t.Helper()
	requireEffective(c.t, c.TCPConn, want...)
	require.Empty(c.t, c.refused)
}

func TestReleaseRestores(t *testing.T) {
	c := newOverridable(t)
	settings := []Setting{
		to(NoDelay, 0), to(NotSentLowat, 128<<10), to(Cork, 1), to(PacingRate, 10<<20), to(ThinStream, 1), to(UserTimeout, 30_000),
		to(TTL, 42),
		{Congestion, Value{Text: "reno"}},
		to(WindowClamp, 48<<10),
	}
	var before []Setting
	for _, s := range settings {
		value, err := Get(c.TCPConn, s.Option)
		require.NoError(t, err)
		require.NotEqual(t, s.Value, value, s.Option.Name)
		before = append(before, Setting{s.Option, value})
	}
	h := c.holder(settings...)
	for range 2 {
		c.hold(h)
		c.requireAll(settings...)
		c.release(h)
		c.requireAll(before...)
	}
	c.release(h) // a hold that is over
	c.requireAll(before...)
}

// TestLatestHoldCounts: of two holds on an option the later one counts, whichever ends
// first.
func TestLatestHoldCounts(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(c *overridable, first, second *Hold)
	}{
		{"the first ends first", func(c *overridable, first, second *Hold) {
			c.release(first)
			c.requireAll(to(Priority, 2), to(NotSentLowat, 1<<20))
			c.release(second)
		}},
		{"the second ends first", func(c *overridable, first, second *Hold) {
			c.release(second)
			c.requireAll(to(Priority, 1), to(NotSentLowat, 2<<20))
			c.release(first)
		}},
		{"all end", func(c *overridable, _, _ *Hold) { c.releaseAll() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newOverridable(t)
			require.Empty(t, refusals(t, c.TCPConn, []Setting{to(Priority, 3), to(NotSentLowat, 3<<20)}))
			first := c.holder(to(Priority, 1), to(NotSentLowat, 2<<20))
			second := c.holder(to(Priority, 2), to(NotSentLowat, 1<<20))
			c.hold(first)
			c.requireAll(to(Priority, 1), to(NotSentLowat, 2<<20))
			c.hold(second)
			c.requireAll(to(Priority, 2), to(NotSentLowat, 1<<20))
			test.end(c, first, second)
			c.requireAll(to(Priority, 3), to(NotSentLowat, 3<<20))
		})
	}
}

// TestTrafficClassDerivesPriority: the kernel derives the priority from the traffic
// class (rt_tos2priority in the kernel's include/net/route.h). While that is held alone,
// the derived priority counts, and afterwards the one from before.
func TestTrafficClassDerivesPriority(t *testing.T) {
	const (
		class   = 0xb8 // expedited forwarding
		derived = 4    // TC_PRIO_INTERACTIVE_BULK
	)
	for _, base := range []int{0, 3} {
		t.Run(fmt.Sprint("from ", base), func(t *testing.T) {
			c := newOverridable(t)
			require.Empty(t, refusals(t, c.TCPConn, []Setting{to(Priority, base)}))
			alone := c.holder(to(TrafficClass, class))
			both := c.holder(to(TrafficClass, class), to(Priority, 5))
			priority := c.holder(to(Priority, 2))
			restored := func() { c.requireAll(to(TrafficClass, 0), to(Priority, base)) }

			c.hold(alone)
			c.requireAll(to(TrafficClass, class), to(Priority, derived))
			c.release(alone)
			restored()

			c.hold(both)
			c.requireAll(to(TrafficClass, class), to(Priority, 5))
			c.release(both)
			restored()

			c.hold(priority)
			c.hold(alone)
			c.requireAll(to(TrafficClass, class), to(Priority, 2))
			c.release(alone)
			c.requireAll(to(TrafficClass, 0), to(Priority, 2))
			c.release(priority)
			restored()

			c.hold(alone)
			c.hold(priority)
			c.requireAll(to(TrafficClass, class), to(Priority, 2))
			c.release(priority)
			c.requireAll(to(TrafficClass, class), to(Priority, derived))
			c.release(alone)
			restored()

			c.hold(both)
			c.hold(alone)
			c.hold(priority)
			c.releaseAll()
			restored()
		})
	}
}

// TestReleasedBufferIsTuned: a buffer whose size was restored is the kernel's again.
func TestReleasedBufferIsTuned(t *testing.T) {
	if !KernelHas("5.14") {
		t.Skip("SO_BUF_LOCK needs Linux 5.14")
	}
	c := newOverridable(t)
	for _, o := range []Option{SendBuffer, RecvBuffer} {
		size := func() (s saved) {
			onDescriptor(t, c.TCPConn, func(fd int) {
				var err error
				s, err = o.save(fd)
				require.NoError(t, err)
			})
			return s
		}
		before := size()
		require.False(t, before.fixed, o.Name)
		h := &Hold{Overrides: []Override{{to(o, 100_000), Value{Number: 200_000}, &c.refused}}}
		c.hold(h)
		require.Equal(t, saved{Value{Number: 200_000}, true}, size())
		c.release(h)
		require.Equal(t, before, size())
	}
	require.Empty(t, c.refused)
}

// TestRefusedOverride: an option that cannot be set is reported once, and left alone from
// then on.
func TestRefusedOverride(t *testing.T) {
	c := newOverridable(t)
	before, err := Get(c.TCPConn, Congestion)
	require.NoError(t, err)
	h := c.holder(to(bogus, 1), Setting{Congestion, Value{Text: "none_of_these"}}, to(Priority, 3))
	for range 2 {
		c.hold(h)
		requireEffective(t, c.TCPConn, to(Priority, 3), Setting{Congestion, before})
		c.release(h)
		requireEffective(t, c.TCPConn, to(Priority, 0), Setting{Congestion, before})
	}
	require.Equal(t, refusalLog{
		"TCP_BOGUS: setsockopt: protocol not available",
		"TCP_CONGESTION: setsockopt: no such file or directory",
	}, c.refused)
}

// TestOverrideStaysSet: an option that can be set and not be read is reported when its hold
// ends.
func TestOverrideStaysSet(t *testing.T) {
	if !HasCapability("CAP_NET_ADMIN") {
		t.Skip("only with CAP_NET_ADMIN there is such an option")
	}
	c := newOverridable(t)
	h := c.holder(to(Raw(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE), 100_000))
	for range 2 {
		c.hold(h)
		requireEffective(t, c.TCPConn, to(RecvBuffer, 200_000))
		c.release(h)
	}
	name := h.Overrides[0].Option.Name
	require.Equal(t, refusalLog{name + ": " + ErrStaysSet.Error(), name + ": " + ErrStaysSet.Error()}, c.refused)
}

// TestOverridesOfAClosedConnection do nothing and report nothing.
func TestOverridesOfAClosedConnection(t *testing.T) {
	c := newOverridable(t)
	h := c.holder(to(Priority, 3))
	c.hold(h)
	require.NoError(t, c.Close())
	c.release(h)
	c.hold(h)
	c.releaseAll()
	require.Empty(t, c.refused)
}

func TestOverridesAllocateNothing(t *testing.T) {
	c := newOverridable(t)
	h := c.holder(to(Priority, 3), to(TrafficClass, 0xb8))
	h.Overrides = append(h.Overrides, Override{to(SendBuffer, 100_000), Value{Number: 200_000}, &c.refused})
	require.Zero(t, testing.AllocsPerRun(100, func() {
		c.hold(h)
		c.release(h)
	}))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		c.hold(h)
		c.releaseAll()
	}))
	require.Empty(t, c.refused)
}
