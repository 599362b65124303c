package socket

import (
	"encoding/binary"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Numbers and structs of the kernel's include/uapi/linux/inet_diag.h and sock_diag.h.
const (
	sockDiagByFamily = 20
	diagSKMemInfo    = 7
	stateListen      = 10
	memInfoDrops     = 8 // SK_MEMINFO_DROPS
	memInfoLength    = 9 // SK_MEMINFO_VARS
)

type diagSockID struct {
	_, _ uint16
	_, _ [4]uint32
	_    uint32
	_    [2]uint32
}

type diagRequest struct {
	header           unix.NlMsghdr
	family, protocol uint8
	extensions, _    uint8
	states           uint32
	_                diagSockID
}

type diagAnswer struct {
	_, _, _, _ uint8
	_          diagSockID
	_, _, _, _ uint32
	inode      uint32
}

// listenersDropped returns how many connections each listening TCP socket has dropped, by
// its inode. It is also the way to that of a listening MPTCP socket: the kernel counts at
// the TCP socket beneath it, where getsockopt(2) does not reach, and both have the same
// inode (mptcp_subflow_create_socket in net/mptcp/subflow.c).
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
	request := diagRequest{
		header: unix.NlMsghdr{
			Len: uint32(unsafe.Sizeof(diagRequest{})), Type: sockDiagByFamily, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP,
		},
		family: family, protocol: unix.IPPROTO_TCP, extensions: 1 << (diagSKMemInfo - 1), states: 1 << stateListen,
	}
	if err := unix.Sendto(netlink, (*[unsafe.Sizeof(request)]byte)(unsafe.Pointer(&request))[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil { //nolint:gosec // its own bytes
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
			if len(m.Data) >= int(unsafe.Sizeof(diagAnswer{})) {
				answer := (*diagAnswer)(unsafe.Pointer(&m.Data[0])) //nolint:gosec // the length is checked
				dropped[answer.inode] = droppedIn(m.Data[unsafe.Sizeof(*answer):])
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
		if at := unix.SizeofNlAttr + 4*memInfoDrops; kind == diagSKMemInfo && length >= at+4 {
			return binary.NativeEndian.Uint32(attributes[at:])
		}
		attributes = attributes[min((length+3)&^3, len(attributes)):]
	}
	return 0
}
