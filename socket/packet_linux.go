package socket

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// leastQUICBuffer is the smallest buffer that quic-go leaves alone: getsockopt(2) reads double of it.
const leastQUICBuffer = quicBuffer / 2

// Drops reads what the kernel has dropped because sockets were full, since they exist:
// datagrams of UDP sockets, or connections of listening ones. After 2³² a number begins
// again. Listening MPTCP sockets are read all at once, when the first is asked for.
type Drops struct {
	listeners map[uint32]uint32 // by inode
}

// Of returns what the socket of c has dropped.
//
// Errors: net.ErrClosed, an *os.SyscallError, or errors.ErrUnsupported for a socket that is newer than what was read.
func (d *Drops) Of(c syscall.Conn) (count uint32, err error) {
	err = control(c, func(fd int) (err error) {
		if protocol, _ := Multipath.get(fd); protocol.Number != 0 {
			count, err = d.ofListener(fd)
			return err
		}
		memory, err := memoryOf(fd)
		count = memory[unix.SK_MEMINFO_DROPS]
		return os.NewSyscallError("getsockopt", err)
	})
	return count, err
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
