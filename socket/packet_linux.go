package socket

import (
	"cmp"
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leastQUICBuffer is the smallest buffer that quic-go leaves alone: getsockopt(2) reads
// double of it.
const leastQUICBuffer = quicBuffer / 2

// Drops reads what the kernel has dropped because sockets were full, since they exist:
// datagrams of UDP sockets, or connections of listening ones. After 2³² a number begins
// again. Listening MPTCP sockets are read all at once, when the first is asked for.
type Drops struct {
	listeners map[uint32]uint32 // by inode
}

// Of returns what the socket of c has dropped.
//
// Errors: net.ErrClosed, an *os.SyscallError, or errors.ErrUnsupported for a socket that is
// newer than what was read.
func (d *Drops) Of(c syscall.Conn) (count uint32, err error) {
	ctlErr := control(c, func(fd int) {
		if protocol, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); protocol == unix.IPPROTO_MPTCP {
			count, err = d.ofListener(fd)
			return
		}
		var figures [memInfoLength]uint32
		size := uint32(unsafe.Sizeof(figures))
		_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&figures)), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // as unix.GetsockoptInt does
		if errno != 0 {
			err = os.NewSyscallError("getsockopt", errno)
		}
		count = figures[memInfoDrops]
	})
	return count, cmp.Or(ctlErr, err)
}

func (d *Drops) ofListener(fd int) (count uint32, err error) {
	if d.listeners == nil {
		if d.listeners, err = listenersDropped(); err != nil {
			return 0, err
		}
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	count, known := d.listeners[uint32(stat.Ino)] //nolint:gosec // inodes of sockets are 32 bits
	if !known {
		return 0, errors.ErrUnsupported
	}
	return count, nil
}

// Cookie returns the number of a socket (SO_COOKIE), which its duplicates have, too.
//
// Errors: net.ErrClosed, or an *os.SyscallError.
func Cookie(c syscall.Conn) (cookie uint64, err error) {
	ctlErr := control(c, func(fd int) { cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE) })
	if ctlErr != nil {
		return 0, ctlErr
	}
	return cookie, os.NewSyscallError("getsockopt", err)
}

// AcceptQueue returns how many connections wait for Accept at the listening socket of c,
// and how many may.
//
// Errors: net.ErrClosed, or an *os.SyscallError.
func AcceptQueue(c syscall.Conn) (connections, limit int, err error) {
	var info *unix.TCPInfo
	ctlErr := control(c, func(fd int) { info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO) })
	if ctlErr != nil {
		return 0, 0, ctlErr
	}
	if err != nil {
		return 0, 0, os.NewSyscallError("getsockopt", err)
	}
	// tcp_get_info in the kernel's net/ipv4/tcp.c
	return int(info.Unacked), int(info.Sacked), nil
}

// AddTrafficClass adds the bits of a traffic class to each control message in oob that
// sets one (ip(7), ipv6(7)), because the kernel takes the whole byte from there.
func AddTrafficClass(oob []byte, class byte) {
	for len(oob) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		switch {
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_TOS && len(data) > 0:
			data[0] |= class
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_TCLASS && len(data) >= 4:
			binary.NativeEndian.PutUint32(data, binary.NativeEndian.Uint32(data)|uint32(class))
		}
		oob = rest
	}
}
