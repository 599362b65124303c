package socket

import "time"

// Measurement is what the kernel says of a connection at one moment.
type Measurement struct {
	TCPInfo

	// Since the last data were sent and received: tcpi_last_data_sent and tcpi_last_data_recv.
	SinceSent, SinceReceived time.Duration

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

// Learned is what a Conn knows of the acknowledgements of its connection.
type Learned struct {
	State        string `json:"state"` // eager, patient, on trial, off, or with AckOn on
	Acknowledged uint32 `json:"acknowledged"`
	Stalls       uint32 `json:"suspected_stalls"`
}

// Measure reads TCP_INFO of c into m: one call of the kernel.
//
// Errors: those of Info.
func (c *Conn) Measure(m *Measurement) error {
	m.connectTime = c.connectTime.Load()
	return control(c, m.read)
}

// MeasureRest reads what m has beside TCP_INFO, which takes three calls, or four with MPTCP.
// What this kernel lacks stays empty.
func (c *Conn) MeasureRest(m *Measurement) { _ = control(c, m.readRest) }

// Learned returns what c knows of its acknowledgements now.
func (c *Conn) Learned() Learned {
	l := Learned{c.learner.State(), c.acknowledged.Load(), c.stalls.Load()}
	if c.always.Load() {
		l.State = "on"
	}
	return l
}
