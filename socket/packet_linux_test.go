package socket

import (
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

func TestAsQUIC(t *testing.T) {
	for size, want := range map[int64]int64{1: 7 << 20, 7<<19 - 1: 7 << 20, 7 << 19: 7 << 19, 16 << 20: 16 << 20} {
		require.Equal(t, Value{Number: want}, AsQUIC(Value{Number: size}))
	}
}

// TestDropped fills the buffer of a UDP socket that nobody reads.
func TestDropped(t *testing.T) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetReadBuffer(1))
	dropped, err := new(Drops).Of(c)
	require.NoError(t, err)
	require.Zero(t, dropped)
	client, err := net.Dial("udp", c.LocalAddr().String())
	require.NoError(t, err)
	defer client.Close()
	const sent = 100
	for range sent {
		_, err := client.Write(make([]byte, 1000))
		require.NoError(t, err)
	}
	dropped, err = new(Drops).Of(c)
	require.NoError(t, err)
	received, buf := 0, make([]byte, 1000)
	for {
		var readErr error
		onDescriptor(t, c, func(fd int) { _, _, readErr = unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT) })
		if readErr == unix.EAGAIN {
			break
		}
		require.NoError(t, readErr)
		received++
	}
	require.EqualValues(t, sent-received, dropped)
	require.NotZero(t, received)
	require.NoError(t, c.Close())
	_, err = new(Drops).Of(c)
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = Get(c, Cookie)
	require.ErrorIs(t, err, net.ErrClosed)
	_, _, err = AcceptQueue(c)
	require.ErrorIs(t, err, net.ErrClosed)
}

// controlMessage returns a control message as quic-go makes it.
func controlMessage(level, kind int, data ...byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0])) //nolint:gosec // as package unix does
	h.Level, h.Type = int32(level), int32(kind) //nolint:gosec // numbers of the kernel
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func TestAddTrafficClass(t *testing.T) {
	const class, ect0 = 72, 2
	segment := controlMessage(unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1, 2)
	v4 := func(b byte) []byte { return controlMessage(unix.IPPROTO_IP, unix.IP_TOS, b) }
	v6 := func(b byte) []byte {
		return controlMessage(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, binary.NativeEndian.AppendUint32(nil, uint32(b))...)
	}
	join := func(messages ...[]byte) (all []byte) {
		for _, m := range messages {
			all = append(all, m...)
		}
		return all
	}
	for _, test := range []struct{ before, after []byte }{
		{nil, nil},
		{segment, segment},
		{join(segment, v4(ect0)), join(segment, v4(class|ect0))},
		{join(v6(ect0), segment), join(v6(class|ect0), segment)},
		{join(v4(class | ect0)), join(v4(class | ect0))},
		{v4(ect0)[:10], v4(ect0)[:10]},
		{make([]byte, 40), make([]byte, 40)},
	} {
		AddTrafficClass(test.before, class)
		require.Equal(t, test.after, test.before)
	}
	oob := join(controlMessage(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, 20)...), segment, v6(ect0))
	require.Zero(t, testing.AllocsPerRun(100, func() { AddTrafficClass(oob, class) }))
}

// FuzzAddTrafficClass: whatever the bytes, nothing outside of them is touched.
func FuzzAddTrafficClass(f *testing.F) {
	f.Add(controlMessage(unix.IPPROTO_IP, unix.IP_TOS, 2), byte(72))
	f.Add(controlMessage(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 2), byte(72))
	f.Fuzz(func(_ *testing.T, oob []byte, class byte) { AddTrafficClass(oob, class) })
}

// TestDropsAreReadAtOnce: what is read for one listening MPTCP socket serves for all, so a
// socket that is newer is not among them.
func TestDropsAreReadAtOnce(t *testing.T) {
	first := listen(t)
	if !lab.SpeaksMPTCP(t, first) {
		lab.MissingMPTCP(t)
	}
	drops := new(Drops)
	_, err := drops.Of(first)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this kernel has no module that tells of sockets (tcp_diag), or may not load it")
	}
	require.NoError(t, err)
	newer := listen(t)
	_, err = drops.Of(newer)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = drops.Of(first)
	require.NoError(t, err)
	_, err = new(Drops).Of(newer)
	require.NoError(t, err)
}
