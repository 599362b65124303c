//go:build !linux

package socket

import (
	"errors"
	"syscall"
)

// TCPInfo exists on Linux only: elsewhere it has no figures.
type TCPInfo struct{}

// Info always fails with errors.ErrUnsupported.
func Info(syscall.Conn) (*TCPInfo, error) { return nil, errors.ErrUnsupported }

type slot struct{} //nolint:unused // Linux has them

// The figures, by the names of Linux.
var (
	RTT           = Figure{Name: "rtt"}
	RTTVar        = Figure{Name: "rttvar"}
	MinRTT        = Figure{Name: "min_rtt"}
	SndCwnd       = Figure{Name: "snd_cwnd"}
	SndSsthresh   = Figure{Name: "snd_ssthresh"}
	RcvSpace      = Figure{Name: "rcv_space"}
	Unacked       = Figure{Name: "unacked"}
	Lost          = Figure{Name: "lost"}
	Retrans       = Figure{Name: "retrans"}
	TotalRetrans  = Figure{Name: "total_retrans"}
	Reordering    = Figure{Name: "reordering"}
	DeliveryRate  = Figure{Name: "delivery_rate"}
	PacingRateNow = Figure{Name: "pacing_rate"}
	BytesAcked    = Figure{Name: "bytes_acked"}
	BytesReceived = Figure{Name: "bytes_received"}
	NotSentBytes  = Figure{Name: "notsent_bytes"}
	BusyTime      = Figure{Name: "busy_time"}
	RwndLimited   = Figure{Name: "rwnd_limited"}
	SndbufLimited = Figure{Name: "sndbuf_limited"}
)

func (*TCPInfo) value(Figure) (value int64, known bool) { return 0, false }
