package socket

import (
	"slices"
	"syscall"
	"time"
)

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
	Milliseconds
)

// The figures, by the names of their fields without tcpi_. Since Linux 5.4 there is snd_wnd,
// since 6.2 rcv_wnd, since 4.18 delivered_ce, and since 6.18 what AccECN counts.
var (
	RTT           = Figure{"rtt", Microseconds}
	MinRTT        = Figure{"min_rtt", Microseconds}
	SndCwnd       = Figure{"snd_cwnd", Segments}
	Unacked       = Figure{"unacked", Segments}
	Lost          = Figure{"lost", Segments}
	Retrans       = Figure{"retrans", Segments}
	TotalRetrans  = Figure{"total_retrans", Segments}
	PacingRateNow = Figure{"pacing_rate", Bytes}
	BytesAcked    = Figure{"bytes_acked", Bytes}
	BytesReceived = Figure{"bytes_received", Bytes}
	NotSentBytes  = Figure{"notsent_bytes", Bytes}
	BusyTime      = Figure{"busy_time", Microseconds}
	RwndLimited   = Figure{"rwnd_limited", Microseconds}
	SndbufLimited = Figure{"sndbuf_limited", Microseconds}
	ConnectTime   = Figure{"connect_time", Microseconds} // of dialed ones, from the SYN until they were open: Conn.SetConnectTime
)

// Figures that nobody can ask for by these names.
var (
	DataSegsOut = Figure{"data_segs_out", Segments}
	DataSegsIn  = Figure{"data_segs_in", Segments}
	LastAckRecv = Figure{"last_ack_recv", Milliseconds}

	LastDataRecv = Figure{"last_data_recv", Milliseconds}
	LastDataSent = Figure{"last_data_sent", Milliseconds}
)

// Figures are all figures by which a connection can be asked for.
var Figures = slices.Concat([]Figure{
	RTT,
	{"rttvar", Microseconds},
	MinRTT, SndCwnd,
	{"snd_ssthresh", Segments},
	{"rcv_space", Bytes},
	Unacked, Lost, Retrans,
	TotalRetrans,
	{"reordering", Segments},
	{"delivery_rate", Bytes},
	PacingRateNow, BytesAcked, BytesReceived, NotSentBytes,
	BusyTime, RwndLimited, SndbufLimited,
	ConnectTime,
}, PathFigures)

// PathFigures are sizes, timers and windows of a connection, and counts of what ECN marked.
var PathFigures = []Figure{
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

// Info reads what the kernel counts and measures about c: TCP_INFO. Of a Conn it has ConnectTime, too.
//
// Errors: net.ErrClosed, an *os.SyscallError, or errors.ErrUnsupported where there is none.
func Info(c syscall.Conn) (*TCPInfo, error) {
	info := new(TCPInfo)
	if conn, ok := c.(*Conn); ok {
		info.connectTime = conn.connectTime.Load()
	}
	if err := control(c, info.read); err != nil {
		return nil, err
	}
	return info, nil
}

// Duration returns a figure that is a time, or 0 where it is not known.
func (i *TCPInfo) Duration(f Figure) time.Duration {
	n, known := i.Value(f)
	switch {
	case !known:
		return 0
	case f.Unit == Milliseconds:
		return time.Duration(n) * time.Millisecond
	}
	return time.Duration(n) * time.Microsecond
}

// AcceptQueue returns how many connections wait for Accept at the listening socket of c, and how many may.
//
// Errors: those of Info.
func AcceptQueue(c syscall.Conn) (connections, limit int, err error) {
	info, err := Info(c)
	if err != nil {
		return 0, 0, err
	}
	waiting, _ := info.Value(Unacked) // tcp_get_info in the kernel's net/ipv4/tcp.c
	most, _ := info.Value(Figure{Name: "sacked"})
	return int(waiting), int(most), nil
}

// Measurement is what the kernel says of a connection at one moment, beside TCP_INFO. What this kernel lacks is empty.
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
