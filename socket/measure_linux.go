package socket

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MeasureFigures reads TCP_INFO of c into m, and nothing else.
//
// Errors: net.ErrClosed, or an *os.SyscallError.
func (c *Conn) MeasureFigures(m *Measurement) (err error) {
	if ctlErr := controlRaw(c.raw, func(fd uintptr) { err = os.NewSyscallError("getsockopt", m.TCPInfo.read(int(fd))) }); ctlErr != nil {
		return ctlErr
	}
	return err
}

// Measure reads what the kernel says of c into m.
//
// Errors: net.ErrClosed, or an *os.SyscallError.
func (c *Conn) Measure(m *Measurement) (err error) {
	if ctlErr := controlRaw(c.raw, func(fd uintptr) { err = os.NewSyscallError("getsockopt", m.read(int(fd))) }); ctlErr != nil {
		return ctlErr
	}
	return err
}

// Learned returns what c knows of its acknowledgements now.
func (c *Conn) Learned() Learned {
	l := Learned{c.learner.State(), c.acknowledged.Load(), c.stalls.Load()}
	if c.always.Load() {
		l.State = "on"
	}
	return l
}

func (m *Measurement) read(fd int) error {
	if err := m.TCPInfo.read(fd); err != nil {
		return err
	}
	m.SinceSent = time.Duration(m.Last_data_sent) * time.Millisecond
	m.SinceReceived = time.Duration(m.Last_data_recv) * time.Millisecond
	// What follows may be missing on an older kernel, and is then empty.
	if value, err := Congestion.get(fd); err == nil {
		m.Congestion = value.Text
	}
	m.readMemory(fd)
	if protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err == nil && protocol == unix.IPPROTO_MPTCP {
		m.Multipath = true
		m.readMultipath(fd)
	}
	return nil
}

// readMemory reads SO_MEMINFO. The order of its numbers is that of SK_MEMINFO_RMEM_ALLOC and the
// rest in the kernel's include/uapi/linux/sock_diag.h.
func (m *Measurement) readMemory(fd int) {
	var memory [9]uint32
	if getsockoptBytes(fd, unix.SOL_SOCKET, unix.SO_MEMINFO, unsafe.Pointer(&memory), unsafe.Sizeof(memory)) >= 6*4 { //nolint:gosec // the kernel writes no more than its size
		m.RecvQueued, m.RecvBuffer, m.SendBuffer, m.SendQueued = memory[0], memory[1], memory[3], memory[5]
	}
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
	length := getsockoptBytes(fd, level, name, unsafe.Pointer(&info), unsafe.Sizeof(info)) //nolint:gosec // the kernel writes no more than its size
	if length == 0 {
		return
	}
	m.Subflows = int(info.subflows) + 1
	if length >= unsafe.Sizeof(info) {
		m.BytesReceived, m.BytesAcked = int64(info.bytesReceived), int64(info.bytesAcked) //nolint:gosec // an int64 holds all the bytes of a connection
	}
}

// getsockoptBytes reads an option of any size, and returns how many bytes it has: 0 after an error.
func getsockoptBytes(fd, level, name int, value unsafe.Pointer, size uintptr) uintptr {
	length := uint32(size) //nolint:gosec // the size of a struct
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(value), uintptr(unsafe.Pointer(&length)), 0) //nolint:gosec // the kernel writes to both
	if errno != 0 {
		return 0
	}
	return uintptr(length)
}
