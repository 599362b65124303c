package socket

// Figure is one thing that the kernel measures or counts about a connection, a
// field of the struct that getsockopt(2) returns for TCP_INFO.
type Figure struct {
	Name string

	// Unit is what it counts, for those who read and write it.
	Unit
}

// Unit is what a figure counts.
type Unit uint8

// The units.
const (
	Segments     Unit = iota
	Bytes             // or bytes a second
	Microseconds      // shown as seconds
)

// The figures, by the names of their fields without tcpi_. Since Linux 5.4 there is snd_wnd,
// since 6.2 rcv_wnd, since 4.18 delivered_ce, and since 6.18 what AccECN counts.
var (
	RTT           = Figure{"rtt", Microseconds}
	RTTVar        = Figure{"rttvar", Microseconds}
	MinRTT        = Figure{"min_rtt", Microseconds}
	SndCwnd       = Figure{"snd_cwnd", Segments}
	SndSsthresh   = Figure{"snd_ssthresh", Segments}
	RcvSpace      = Figure{"rcv_space", Bytes}
	Unacked       = Figure{"unacked", Segments}
	Lost          = Figure{"lost", Segments}
	Retrans       = Figure{"retrans", Segments}
	TotalRetrans  = Figure{"total_retrans", Segments}
	Reordering    = Figure{"reordering", Segments}
	DeliveryRate  = Figure{"delivery_rate", Bytes}
	PacingRateNow = Figure{"pacing_rate", Bytes}
	BytesAcked    = Figure{"bytes_acked", Bytes}
	BytesReceived = Figure{"bytes_received", Bytes}
	NotSentBytes  = Figure{"notsent_bytes", Bytes}
	BusyTime      = Figure{"busy_time", Microseconds}
	RwndLimited   = Figure{"rwnd_limited", Microseconds}
	SndbufLimited = Figure{"sndbuf_limited", Microseconds}
)

// Figures are all figures by which a connection can be asked for.
var Figures = []Figure{
	RTT, RTTVar, MinRTT, SndCwnd, SndSsthresh, RcvSpace, Unacked, Lost, Retrans, TotalRetrans, Reordering,
	DeliveryRate, PacingRateNow, BytesAcked, BytesReceived, NotSentBytes, BusyTime, RwndLimited, SndbufLimited,
	{"advmss", Bytes},
	{"pmtu", Bytes},
	{"snd_mss", Bytes},
	{"rcv_mss", Bytes},
	{"rto", Microseconds},
	{"ato", Microseconds},
	{"snd_wnd", Bytes},
	{"rcv_wnd", Bytes},
	{"delivered_ce", Segments},
	{"received_ce", Segments},
	{"delivered_e1_bytes", Bytes},
	{"delivered_e0_bytes", Bytes},
	{"delivered_ce_bytes", Bytes},
	{"received_e1_bytes", Bytes},
	{"received_e0_bytes", Bytes},
	{"received_ce_bytes", Bytes},
}
