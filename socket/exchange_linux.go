package socket

import (
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// exchanges are how many bytes Exchange sends each way: twelve messages that fill no segment, which
// some options hold back, and one that fills a window. The kernel paces only after the
// first ten (tcp_update_skb_after_send in net/ipv4/tcp_output.c).
var exchanges = append(slices.Repeat([]int{1 << 10}, 12), 64<<10)

const (
	// exchangePatience bounds one transfer. Loopback delivers at once.
	exchangePatience = 100 * time.Millisecond

	// timerLeast is the shortest of the kernel's timers that delays a segment: that of
	// the delayed acknowledgement (TCP_DELACK_MIN in include/net/tcp.h).
	timerLeast = 40 * time.Millisecond
)

// Exchange sets settings on a connection over loopback, sends bytes to it and others
// back, over IPv4 and over IPv6 where the system has it. It finds settings that stop
// the flow of data, or leave it to a timer.
//
// Errors say which of the two. A setting that the kernel refuses is ignored.
func Exchange(settings []Setting) error {
	for _, over := range []struct {
		name     string
		family   int
		loopback unix.Sockaddr
	}{
		{"IPv4", unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}},
		{"IPv6", unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}},
	} {
		var failed error
		for range 3 { // a busy machine may delay one
			accepted, peer, err := pairOver(over.family, over.loopback)
			if err != nil {
				break // no such loopback: nothing can be tried
			}
			for _, s := range settings {
				_ = s.Option.set(accepted, s.Value)
			}
			failed = exchange(accepted, peer)
			hangUp(accepted, peer)
			if failed == nil {
				break
			}
		}
		if failed != nil {
			return fmt.Errorf("a connection with it %w over %s", failed, over.name)
		}
	}
	return nil
}

// exchange sends bytes both ways, until they are late.
func exchange(accepted, peer int) error {
	began := time.Now()
	for _, size := range exchanges {
		if transfer(peer, accepted, size) != nil || transfer(accepted, peer, size) != nil {
			return fmt.Errorf("does not deliver data within %v", exchangePatience)
		}
		if took := time.Since(began); took >= timerLeast {
			return fmt.Errorf("delivers data %d ms late", took.Milliseconds())
		}
	}
	return nil
}

// pairOver returns both ends of a connection over loopback.
func pairOver(family int, loopback unix.Sockaddr) (accepted, peer int, err error) {
	const kind = unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	listener, err := unix.Socket(family, kind, unix.IPPROTO_TCP)
	if err != nil {
		return -1, -1, os.NewSyscallError("socket", err)
	}
	defer unix.Close(listener)
	if err := unix.Bind(listener, loopback); err != nil {
		return -1, -1, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(listener, 1); err != nil {
		return -1, -1, os.NewSyscallError("listen", err)
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		return -1, -1, os.NewSyscallError("getsockname", err)
	}
	return connectTo(listener, family, address)
}

// transfer sends bytes from one end to the other.
func transfer(from, to, size int) error {
	buf := make([]byte, size)
	deadline := time.Now().Add(exchangePatience)
	sent, received := 0, 0
	for received < size {
		if sent < size {
			n, err := unix.Write(from, buf[sent:])
			switch {
			case err == nil:
				sent += n
			case err != unix.EAGAIN && err != unix.EINTR:
				return os.NewSyscallError("write", err)
			}
		}
		if err := readable(to, time.Until(deadline)); err != nil {
			return err
		}
		n, err := unix.Read(to, buf)
		switch {
		case err == nil && n == 0:
			return os.ErrClosed
		case err == nil:
			received += n
		case err != unix.EAGAIN && err != unix.EINTR:
			return os.NewSyscallError("read", err)
		}
	}
	return nil
}
