package socket

// Figure is one thing that the kernel measures or counts about a connection, a
// field of the struct that getsockopt(2) returns for TCP_INFO.
type Figure struct {
	Name string

	// Time says that it is in microseconds. Others count bytes, bytes a second, or
	// segments.
	Time bool
}

// The figures, by the names of their fields without tcpi_.
var (
	RTT           = Figure{"rtt", true}
	RTTVar        = Figure{"rttvar", true}
	MinRTT        = Figure{"min_rtt", true}
	SndCwnd       = Figure{"snd_cwnd", false}
	SndSsthresh   = Figure{"snd_ssthresh", false}
	RcvSpace      = Figure{"rcv_space", false}
	Unacked       = Figure{"unacked", false}
	Lost          = Figure{"lost", false}
	Retrans       = Figure{"retrans", false}
	TotalRetrans  = Figure{"total_retrans", false}
	Reordering    = Figure{"reordering", false}
	DeliveryRate  = Figure{"delivery_rate", false}
	PacingRateNow = Figure{"pacing_rate", false}
	BytesAcked    = Figure{"bytes_acked", false}
	BytesReceived = Figure{"bytes_received", false}
	NotSentBytes  = Figure{"notsent_bytes", false}
	BusyTime      = Figure{"busy_time", true}
	RwndLimited   = Figure{"rwnd_limited", true}
	SndbufLimited = Figure{"sndbuf_limited", true}
)

// Figures are all figures by which a connection can be asked for.
var Figures = []Figure{
	RTT, RTTVar, MinRTT, SndCwnd, SndSsthresh, RcvSpace, Unacked, Lost, Retrans, TotalRetrans, Reordering,
	DeliveryRate, PacingRateNow, BytesAcked, BytesReceived, NotSentBytes, BusyTime, RwndLimited, SndbufLimited,
}
