package socket

import "syscall"

// Measurement is what the kernel says of a connection at one moment, beside TCP_INFO. What this
// kernel lacks is empty.
type Measurement struct {
	// Congestion is the congestion control algorithm: TCP_CONGESTION.
	Congestion string

	// Multipath says that the connection speaks MPTCP. Subflows are then its TCP connections, of
	// which TCPInfo has the first, and BytesAcked and BytesReceived are those of all of them.
	Multipath                 bool
	Subflows                  int
	BytesAcked, BytesReceived int64

	// Memory of the socket in bytes, with the kernel's bookkeeping: SO_MEMINFO.
	RecvQueued, RecvBuffer, SendQueued, SendBuffer uint32
}

// Measure asks the kernel about c in three calls, or four with MPTCP. Of a closed connection all is empty.
func Measure(c syscall.Conn) (m Measurement) {
	_ = control(c, m.read)
	return m
}

// Learned is what a Conn knows of the acknowledgements of its connection.
type Learned struct {
	State        string `json:"state"` // eager, patient, on trial, off, or with AckOn on
	Acknowledged uint32 `json:"acknowledged"`
	Stalls       uint32 `json:"suspected_stalls"`
}

// Learned returns what c knows of its acknowledgements now.
func (c *Conn) Learned() Learned {
	l := Learned{c.learner.State(), c.acknowledged.Load(), c.stalls.Load()}
	if c.always.Load() {
		l.State = "on"
	}
	return l
}
