package socket

import (
	"time"

	"golang.org/x/sys/unix"
)

func (m *Measurement) read(fd int) error {
	if err := m.TCPInfo.read(fd); err != nil {
		return err
	}
	m.SinceSent = time.Duration(m.Last_data_sent) * time.Millisecond
	m.SinceReceived = time.Duration(m.Last_data_recv) * time.Millisecond
	return nil
}

func (m *Measurement) readRest(fd int) error {
	if value, err := Congestion.get(fd); err == nil {
		m.Congestion = value.Text
	}
	if memory, err := memoryOf(fd); err == nil {
		m.RecvQueued, m.RecvBuffer, m.SendBuffer, m.SendQueued = memory[0], memory[1], memory[3], memory[5]
	}
	if protocol, _ := Multipath.get(fd); protocol.Number != 0 {
		m.Multipath = true
		m.readMultipath(fd)
	}
	return nil
}

// memoryOf reads SO_MEMINFO. The order of its numbers is that of SK_MEMINFO_RMEM_ALLOC and the
// rest in the kernel's include/uapi/linux/sock_diag.h.
func memoryOf(fd int) (memory [memInfoLength]uint32, err error) {
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

// readMultipath reads MPTCP_INFO.
func (m *Measurement) readMultipath(fd int) {
	const (
		level = 284 // SOL_MPTCP in include/linux/socket.h
		name  = 1   // MPTCP_INFO in include/uapi/linux/mptcp.h
	)
	var info mptcpInfo
	if _, err := getsockopt(fd, level, name, &info); err == nil {
		m.Subflows = int(info.subflows) + 1
		m.BytesReceived, m.BytesAcked = int64(info.bytesReceived), int64(info.bytesAcked) //nolint:gosec // an int64 holds all the bytes of a connection
	}
}
