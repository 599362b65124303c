package socket

import (
	"math"
	"os"
	"reflect"
	"strings"

	"golang.org/x/sys/unix"
)

// TCPInfo is what the kernel counts and measures about a connection, in the words
// of tcp_info in the kernel's include/uapi/linux/tcp.h.
type TCPInfo struct {
	unix.TCPInfo

	// length is how many bytes of it this kernel knows.
	length uint32

	connectTime uint32 // that of the Conn
}

// read fills i from a descriptor.
func (i *TCPInfo) read(fd int) (err error) {
	i.length, err = getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_INFO, &i.TCPInfo)
	return os.NewSyscallError("getsockopt", err)
}

// field is where a figure is in tcp_info.
type field struct {
	index     int
	size, end uintptr
}

// fields are those of tcp_info, by the names of their figures.
var fields = func() map[string]field {
	byName := make(map[string]field)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[unix.TCPInfo]()) {
		byName[strings.ToLower(f.Name)] = field{f.Index[0], f.Type.Size(), f.Offset + f.Type.Size()}
	}
	return byName
}()

// Value returns a figure, and whether the kernel has returned it: one older than the field does not, and some fields
// are without a value until something has been measured.
func (i *TCPInfo) Value(f Figure) (value int64, known bool) {
	if f == ConnectTime {
		return int64(i.connectTime), i.connectTime != 0
	}
	at, has := fields[f.Name]
	if !has || at.end > uintptr(i.length) {
		return 0, false
	}
	n := reflect.ValueOf(&i.TCPInfo).Elem().Field(at.index).Uint()
	// All ones is "not measured yet" in tcpi_min_rtt, and "no limit" in tcpi_pacing_rate.
	return int64(n), n != math.MaxUint64>>(64-8*at.size) //nolint:gosec // all but all ones fit
}

func (m *Measurement) read(fd int) error {
	var congestion [16]byte // TCP_CA_NAME_MAX in the kernel's include/net/tcp.h
	if _, err := getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, &congestion); err == nil {
		m.Congestion = unix.ByteSliceToString(congestion[:])
	}
	if memory, err := memoryOf(fd); err == nil {
		m.RecvQueued, m.RecvBuffer = memory[unix.SK_MEMINFO_RMEM_ALLOC], memory[unix.SK_MEMINFO_RCVBUF]
		m.SendQueued, m.SendBuffer = memory[unix.SK_MEMINFO_WMEM_QUEUED], memory[unix.SK_MEMINFO_SNDBUF]
	}
	var protocol int32
	if _, err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL, &protocol); err == nil && protocol == unix.IPPROTO_MPTCP {
		m.Multipath = true
		const name = 1 // MPTCP_INFO in include/uapi/linux/mptcp.h
		var info mptcpInfo
		if _, err := getsockopt(fd, unix.SOL_MPTCP, name, &info); err == nil {
			m.Subflows = int(info.subflows) + 1
			m.BytesReceived, m.BytesAcked = int64(info.bytesReceived), int64(info.bytesAcked) //nolint:gosec // an int64 holds all the bytes of a connection
		}
	}
	return nil
}

// memoryOf reads SO_MEMINFO.
func memoryOf(fd int) (memory [unix.SK_MEMINFO_VARS]uint32, err error) {
	_, err = getsockopt(fd, unix.SOL_SOCKET, unix.SO_MEMINFO, &memory)
	return memory, err
}

// mptcpInfo is the beginning of struct mptcp_info in the kernel's include/uapi/linux/mptcp.h, which
// has the counts of bytes since Linux 6.5.
type mptcpInfo struct {
	subflows      uint8 // without the first
	_             [43]byte
	_             uint32 // retransmits
	_, _          uint64 // bytes_retrans, bytes_sent
	bytesReceived uint64
	bytesAcked    uint64
}
