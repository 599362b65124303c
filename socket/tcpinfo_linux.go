package socket

import (
	"math"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TCPInfo is what the kernel counts and measures about a connection, in the words
// of tcp_info in the kernel's include/uapi/linux/tcp.h.
type TCPInfo struct {
	unix.TCPInfo

	// length is how many bytes of it this kernel knows.
	length uint32
}

// Info reads what the kernel counts and measures about c: TCP_INFO.
//
// Errors: net.ErrClosed, or an *os.SyscallError.
func Info(c syscall.Conn) (*TCPInfo, error) {
	info := new(TCPInfo)
	var err error
	ctlErr := control(c, func(fd int) { err = info.read(fd) })
	switch {
	case ctlErr != nil:
		return nil, ctlErr
	case err != nil:
		return nil, os.NewSyscallError("getsockopt", err)
	}
	return info, nil
}

// read fills i from a descriptor. unix.GetsockoptTCPInfo does not tell the length.
func (i *TCPInfo) read(fd int) error {
	i.length = uint32(unsafe.Sizeof(i.TCPInfo))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&i.TCPInfo)), uintptr(unsafe.Pointer(&i.length)), 0) //nolint:gosec // the kernel writes to both
	if errno != 0 {
		return errno
	}
	return nil
}

// slot is where a figure is in tcp_info.
type slot struct{ offset, size uintptr }

// layout is for the offsets of its fields alone.
var layout unix.TCPInfo

// The figures, by the names of their fields without tcpi_.
var (
	RTT           = Figure{"rtt", true, slot{unsafe.Offsetof(layout.Rtt), 4}}
	RTTVar        = Figure{"rttvar", true, slot{unsafe.Offsetof(layout.Rttvar), 4}}
	MinRTT        = Figure{"min_rtt", true, slot{unsafe.Offsetof(layout.Min_rtt), 4}}
	SndCwnd       = Figure{"snd_cwnd", false, slot{unsafe.Offsetof(layout.Snd_cwnd), 4}}
	SndSsthresh   = Figure{"snd_ssthresh", false, slot{unsafe.Offsetof(layout.Snd_ssthresh), 4}}
	RcvSpace      = Figure{"rcv_space", false, slot{unsafe.Offsetof(layout.Rcv_space), 4}}
	Unacked       = Figure{"unacked", false, slot{unsafe.Offsetof(layout.Unacked), 4}}
	Lost          = Figure{"lost", false, slot{unsafe.Offsetof(layout.Lost), 4}}
	Retrans       = Figure{"retrans", false, slot{unsafe.Offsetof(layout.Retrans), 4}}
	TotalRetrans  = Figure{"total_retrans", false, slot{unsafe.Offsetof(layout.Total_retrans), 4}}
	Reordering    = Figure{"reordering", false, slot{unsafe.Offsetof(layout.Reordering), 4}}
	DeliveryRate  = Figure{"delivery_rate", false, slot{unsafe.Offsetof(layout.Delivery_rate), 8}}
	PacingRateNow = Figure{"pacing_rate", false, slot{unsafe.Offsetof(layout.Pacing_rate), 8}}
	BytesAcked    = Figure{"bytes_acked", false, slot{unsafe.Offsetof(layout.Bytes_acked), 8}}
	BytesReceived = Figure{"bytes_received", false, slot{unsafe.Offsetof(layout.Bytes_received), 8}}
	NotSentBytes  = Figure{"notsent_bytes", false, slot{unsafe.Offsetof(layout.Notsent_bytes), 4}}
	BusyTime      = Figure{"busy_time", true, slot{unsafe.Offsetof(layout.Busy_time), 8}}
	RwndLimited   = Figure{"rwnd_limited", true, slot{unsafe.Offsetof(layout.Rwnd_limited), 8}}
	SndbufLimited = Figure{"sndbuf_limited", true, slot{unsafe.Offsetof(layout.Sndbuf_limited), 8}}
)

func (i *TCPInfo) value(f Figure) (value int64, known bool) {
	if f.offset+f.size > uintptr(i.length) {
		return 0, false
	}
	field := unsafe.Add(unsafe.Pointer(&i.TCPInfo), f.offset) //nolint:gosec // within length, which is checked
	if f.size == 4 {
		// All ones is "not measured yet" in tcpi_min_rtt.
		n := *(*uint32)(field)
		return int64(n), n != math.MaxUint32
	}
	// All ones is "no limit" in tcpi_pacing_rate.
	n := *(*uint64)(field)
	return int64(n), n <= math.MaxInt64 //nolint:gosec // checked beside it
}
