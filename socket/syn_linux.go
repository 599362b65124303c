package socket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SavedSYN returns the SYN of an accepted connection, which the kernel returns once and
// then frees (TCP_SAVED_SYN). ok is false where the listening socket did not save it.
func SavedSYN(c syscall.Conn) (syn SYN, ok bool) {
	var headers [40 + 256 + 60]byte // of IPv6, some of its extensions, and TCP
	length := uint32(len(headers))
	err := control(c, func(fd int) {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_SAVED_SYN,
			uintptr(unsafe.Pointer(&headers)), uintptr(unsafe.Pointer(&length)), 0) //nolint:gosec // the kernel writes to both
		ok = errno == 0
	})
	if err != nil || !ok {
		return SYN{}, false
	}
	return parseSYN(headers[:length])
}
