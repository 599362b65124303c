package socket

import (
	"encoding/binary"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Numbers of the kernel's include/uapi/linux/inet_diag.h.
const (
	diagSKMemInfo = 7
	inodeAt       = 68 // in inet_diag_msg
	diagLength    = 72 // of that
)

// diagRequest is inet_diag_req_v2 there, behind its header.
type diagRequest struct {
	Header                          unix.NlMsghdr
	Family, Protocol, Extensions, _ uint8
	States                          uint32
	_                               [48]byte // inet_diag_sockid
}

// listenersDropped returns how many connections each listening TCP socket has dropped, by its inode. It is also the
// way to that of a listening MPTCP socket: the kernel counts at the TCP socket beneath it, where getsockopt(2) does
// not reach, and both have the same inode (mptcp_subflow_create_socket in net/mptcp/subflow.c).
//
// Errors: *os.SyscallError, also where the kernel has no sock_diag(7).
func listenersDropped() (map[uint32]uint32, error) {
	netlink, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(netlink)
	patience := unix.NsecToTimeval(time.Second.Nanoseconds())
	if err := unix.SetsockoptTimeval(netlink, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	dropped := make(map[uint32]uint32)
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := addDropped(dropped, netlink, family); err != nil {
			return nil, err
		}
	}
	return dropped, nil
}

// addDropped adds the listening sockets of one family.
func addDropped(dropped map[uint32]uint32, netlink int, family uint8) error {
	request, _ := binary.Append(nil, binary.NativeEndian, diagRequest{
		Header: unix.NlMsghdr{
			Len: unix.SizeofNlMsghdr + 56, Type: unix.SOCK_DIAG_BY_FAMILY, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP,
		},
		Family: family, Protocol: unix.IPPROTO_TCP, Extensions: 1 << (diagSKMemInfo - 1), States: 1 << unix.BPF_TCP_LISTEN,
	})
	if err := unix.Sendto(netlink, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buffer := make([]byte, 1<<15) // as large as the kernel's own (netlink(7))
	for {
		n, _, err := unix.Recvfrom(netlink, buffer, 0)
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		for _, m := range messages {
			if m.Header.Type == unix.NLMSG_DONE || m.Header.Type == unix.NLMSG_ERROR { // or there is no such family
				return nil
			}
			if len(m.Data) >= diagLength {
				dropped[binary.NativeEndian.Uint32(m.Data[inodeAt:])] = droppedIn(m.Data[diagLength:])
			}
		}
	}
}

// droppedIn returns what attributes (netlink(7)) say.
func droppedIn(attributes []byte) uint32 {
	for len(attributes) >= unix.SizeofNlAttr {
		length, kind := int(binary.NativeEndian.Uint16(attributes)), binary.NativeEndian.Uint16(attributes[2:])
		if length < unix.SizeofNlAttr || length > len(attributes) {
			break
		}
		if at := unix.SizeofNlAttr + 4*unix.SK_MEMINFO_DROPS; kind == diagSKMemInfo && length >= at+4 {
			return binary.NativeEndian.Uint32(attributes[at:])
		}
		attributes = attributes[min((length+3)&^3, len(attributes)):]
	}
	return 0
}
