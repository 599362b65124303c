package socket

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
