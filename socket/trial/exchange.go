package trial

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// exchanges are how many bytes Exchange sends each way: twelve messages that fill no
// segment, which some options hold back, and one that fills a window. The kernel paces only
// after the first ten (tcp_update_skb_after_send in net/ipv4/tcp_output.c).
var exchanges = append(slices.Repeat([]int{1 << 10}, 12), 64<<10)

const (
	// exchangePatience bounds one transfer. Loopback delivers at once.
	exchangePatience = 100 * time.Millisecond

	// timerLeast is the shortest of the kernel's timers that delays a segment: that of
	// the delayed acknowledgement (TCP_DELACK_MIN in include/net/tcp.h).
	timerLeast = 40 * time.Millisecond
)

// Exchange sets settings on a connection over loopback, sends bytes to it and others back, over IPv4 and over IPv6
// where the system has it. It finds settings that stop the flow of data, or leave it to a timer.
//
// Errors say which of the two. A setting that the kernel refuses is ignored.
func Exchange(settings []socket.Setting) error {
	for _, over := range []struct{ name, address string }{{"IPv4", ipv4}, {"IPv6", ipv6}} {
		with := func(settings []socket.Setting) (failed error) { // without such a loopback nothing fails
			_ = connected(Dialed.dialer(), []string{over.address}, func(accepted, dialed *net.TCPConn) {
				_, _ = socket.Set(accepted, settings)
				failed = exchange(accepted, dialed)
			})
			return failed
		}
		var failed error
		for range 6 { // a busy machine delays some, or connections without the settings, too
			if failed = with(settings); failed == nil || with(nil) != nil {
				failed = nil
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
func exchange(accepted, dialed *net.TCPConn) error {
	began := time.Now()
	for _, size := range exchanges {
		if transfer(dialed, accepted, size) != nil || transfer(accepted, dialed, size) != nil {
			return fmt.Errorf("does not deliver data within %v", exchangePatience)
		}
		if took := time.Since(began); took >= timerLeast {
			return fmt.Errorf("delivers data %d ms late", took.Milliseconds())
		}
	}
	return nil
}

// transfer sends bytes from one end to the other.
func transfer(from, to *net.TCPConn, size int) error {
	deadline := time.Now().Add(exchangePatience)
	_, _ = from.SetDeadline(deadline), to.SetDeadline(deadline) // without one an end is closed
	written := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, size))
		written <- err
	}()
	_, err := io.ReadFull(to, make([]byte, size))
	return errors.Join(err, <-written)
}

// AfterBytes sets settings in order on an accepted connection over loopback, sends it bytes, and returns the value
// that o has afterwards: the kernel changes some options by itself.
//
// Errors: those of Set and Get, and of a loopback that does not connect.
func AfterBytes(settings []socket.Setting, o socket.Option) (value socket.Value, err error) {
	opened := connected(Dialed.dialer(), loopback, func(accepted, dialed *net.TCPConn) {
		err = setAll(accepted, settings...)
		for range 4 { // as large as the segments of a download, and fewer than fill the first window
			err = cmp.Or(err, transfer(dialed, accepted, 8<<10))
		}
		if err == nil {
			value, err = socket.Get(accepted, o)
		}
	})
	return value, errors.Join(opened, err)
}
