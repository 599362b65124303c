package socket

import "time"

// AckMode says when a connection acknowledges what it received.
type AckMode string

const (
	// AckAuto acknowledges when a read is about to park and bytes were read since the last write: the peer may be
	// waiting for the acknowledgement, and no reply is on its way to carry it. A connection where replies would have
	// carried it learns that, and leaves acknowledgements to the kernel until its peer is seen to wait.
	AckAuto AckMode = "auto"

	// AckOn acknowledges after every read.
	AckOn AckMode = "on"

	// AckOff leaves every acknowledgement to the kernel's delayed-ACK timer.
	AckOff AckMode = "off"
)

// AckOptions say how a Conn acknowledges.
type AckOptions struct {
	Mode AckMode

	// KeepDelayedAckMax makes AckAuto leave TCP_DELACK_MAX_US alone: the configuration sets it.
	KeepDelayedAckMax bool
}

// Observer is called for what a Conn does beyond reading and writing. Its methods are called from the goroutines that
// read and write, for many connections at a time, and must return soon.
type Observer interface {
	// Acknowledged is called after each acknowledgement asked of the kernel.
	Acknowledged()

	// AcknowledgeFailed is called once for a connection whose kernel socket refuses TCP_QUICKACK: one that speaks
	// MPTCP (ENOPROTOOPT). The connection goes on with the kernel's own timing.
	AcknowledgeFailed(c *Conn, err error)

	// Wasted is called when the acknowledgement that AckAuto asked for at the last park helped nobody: a write would
	// have carried it, or the peer's bytes came much later than a round trip.
	Wasted(c *Conn)

	// Answered is called when the peer's bytes came after an acknowledgement that AckAuto asked
	// for. waited says that the peer has waited for it.
	Answered(c *Conn, waited bool)

	// BecamePatient is called when AckAuto has wasted all the acknowledgements that it
	// may, and asks for none from now on. A stall ends that.
	BecamePatient(c *Conn)

	// Stalled is called after a read that waited like one that a delayed acknowledgement held up: bytes were read, no
	// reply was written, and the peer's next ones came only after the time of such a timer: 30 to 300 ms, and less
	// where AckAuto has shortened it. wait is how long it took, less the round trip.
	Stalled(c *Conn, wait time.Duration)

	// Closing is called once, by the goroutine that closes the connection, before its socket is closed.
	Closing(c *Conn)
}
