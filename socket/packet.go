package socket

import "net"

// quicBuffer is the size to which quic-go sets smaller buffers of a UDP socket (sys_conn_buffers.go).
const quicBuffer = 7 << 20

// AsQUIC returns the size of a buffer after quic-go has seen it.
func AsQUIC(v Value) Value {
	if v.Number < leastQUICBuffer {
		v.Number = quicBuffer
	}
	return v
}

// RaiseLikeQUIC makes the buffers of a socket what quic-go would make of them: larger than
// the sysctls permit only where these leave too little.
func RaiseLikeQUIC(c *net.UDPConn) {
	for _, b := range []struct {
		Option
		set func(size int) error // not above the sysctl
	}{{RecvBuffer, c.SetReadBuffer}, {SendBuffer, c.SetWriteBuffer}} {
		small := func() bool {
			size, err := Get(c, b.Option)
			return err == nil && b.AsSet(size).Number < leastQUICBuffer
		}
		if small() && b.set(quicBuffer) == nil && small() {
			_, _ = Set(c, []Setting{{b.Option, Value{Number: quicBuffer}}}) // as far as the kernel permits
		}
	}
}
