package socket

// Figure is one thing that the kernel measures or counts about a connection, a
// field of the struct that getsockopt(2) returns for TCP_INFO.
type Figure struct {
	Name string

	// Time says that it is in microseconds. Others count bytes, bytes a second, or
	// segments.
	Time bool

	slot //nolint:unused // where Linux has it
}

// Figures are all figures by which a connection can be asked for.
var Figures = []Figure{
	RTT, RTTVar, MinRTT, SndCwnd, SndSsthresh, RcvSpace, Unacked, Lost, Retrans, TotalRetrans, Reordering,
	DeliveryRate, PacingRateNow, BytesAcked, BytesReceived, NotSentBytes, BusyTime, RwndLimited, SndbufLimited,
}

// Value returns a figure, and whether the kernel has returned it: one
// older than the field does not, and some fields are without a value until
// something has been measured.
func (i *TCPInfo) Value(f Figure) (value int64, known bool) { return i.value(f) }
