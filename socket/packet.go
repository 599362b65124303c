package socket

import "net"

// quicBuffer is the size to which quic-go sets smaller buffers of a UDP socket
// (sys_conn_buffers.go).
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
		set func(size int) error
	}{{RecvBuffer, c.SetReadBuffer}, {SendBuffer, c.SetWriteBuffer}} {
		for _, raise := range []func(size int) error{b.set, func(size int) error {
			_, err := Set(c, []Setting{{b.Option, Value{Number: int64(size)}}})
			return err
		}} {
			if size, err := Get(c, b.Option); err == nil && b.AsSet(size).Number < leastQUICBuffer {
				_ = raise(quicBuffer) // as far as the kernel permits
			}
		}
	}
}
