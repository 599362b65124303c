package socket

import (
	"encoding/binary"
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Numbers and structs of the kernel's include/uapi/linux/inet_diag.h and sock_diag.h.
const (
	sockDiagByFamily = 20
	diagSKMemInfo    = 7
	stateListen      = 10
)

type diagSockID struct {
	sport, dport uint16 // in network order
	src, dst     [4]uint32
	device       uint32
	cookie       [2]uint32
}

type diagRequest struct {
	header           unix.NlMsghdr
	family, protocol uint8
	extensions, _    uint8
	states           uint32
	id               diagSockID
}

type diagAnswer struct {
	family, state, timer, retransmits uint8

	id                            diagSockID
	expires, rqueue, wqueue, user uint32
	inode                         uint32
}

// listenerMemInfo returns the figures of SO_MEMINFO for the TCP socket beneath a listening
// MPTCP socket: the kernel counts there, and getsockopt(2) does not reach it. Both have
// the same inode (mptcp_subflow_create_socket in net/mptcp/subflow.c).
//
// Errors: *os.SyscallError, also where the kernel has no sock_diag(7).
func listenerMemInfo(fd int) (figures [memInfoLength]uint32, err error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return figures, os.NewSyscallError("fstat", err)
	}
	request := diagRequest{
		header: unix.NlMsghdr{
			Len: uint32(unsafe.Sizeof(diagRequest{})), Type: sockDiagByFamily, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP,
		},
		protocol: unix.IPPROTO_TCP, extensions: 1 << (diagSKMemInfo - 1), states: 1 << stateListen,
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return figures, os.NewSyscallError("getsockname", err)
	}
	var port int
	switch local := local.(type) {
	case *unix.SockaddrInet4:
		request.family, port = unix.AF_INET, local.Port
	case *unix.SockaddrInet6:
		request.family, port = unix.AF_INET6, local.Port
	}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&request.id.sport))[:], uint16(port)) //nolint:gosec // a port
	netlink, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return figures, os.NewSyscallError("socket", err)
	}
	defer unix.Close(netlink)
	patience := unix.NsecToTimeval(time.Second.Nanoseconds())
	if err := unix.SetsockoptTimeval(netlink, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return figures, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Sendto(netlink, (*[unsafe.Sizeof(request)]byte)(unsafe.Pointer(&request))[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil { //nolint:gosec // its own bytes
		return figures, os.NewSyscallError("sendto", err)
	}
	buffer := make([]byte, 1<<15) // as large as the kernel's own (netlink(7))
	for {
		n, _, err := unix.Recvfrom(netlink, buffer, 0)
		if err != nil {
			return figures, os.NewSyscallError("recvfrom", err)
		}
		found, done := memInfoOf(uint32(stat.Ino), buffer[:n], &figures) //nolint:gosec // inodes of sockets are 32 bits
		if found {
			return figures, nil
		}
		if done {
			return figures, errors.ErrUnsupported
		}
	}
}

const memInfoLength = 9 // SK_MEMINFO_VARS

// memInfoOf looks for the socket with an inode in messages.
func memInfoOf(inode uint32, messages []byte, figures *[memInfoLength]uint32) (found, done bool) {
	const header, attribute = unix.SizeofNlMsghdr, unix.SizeofNlAttr
	for len(messages) >= header {
		m := (*unix.NlMsghdr)(unsafe.Pointer(&messages[0])) //nolint:gosec // the length is checked
		size := int(m.Len)
		if m.Type == unix.NLMSG_DONE || m.Type == unix.NLMSG_ERROR || size < header || size > len(messages) {
			return false, true
		}
		body := messages[header:size]
		messages = messages[min((size+3)&^3, len(messages)):]
		if len(body) < int(unsafe.Sizeof(diagAnswer{})) || (*diagAnswer)(unsafe.Pointer(&body[0])).inode != inode { //nolint:gosec // the length is checked
			continue
		}
		for body = body[unsafe.Sizeof(diagAnswer{}):]; len(body) >= attribute; {
			a := (*unix.NlAttr)(unsafe.Pointer(&body[0])) //nolint:gosec // the length is checked
			length := int(a.Len)
			if length < attribute || length > len(body) {
				break
			}
			if a.Type == diagSKMemInfo {
				for i := range min(memInfoLength, (length-attribute)/4) {
					figures[i] = binary.NativeEndian.Uint32(body[attribute+4*i:])
				}
				return true, false
			}
			body = body[min((length+3)&^3, len(body)):]
		}
	}
	return false, false
}
