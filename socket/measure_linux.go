package socket

import "golang.org/x/sys/unix"

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
