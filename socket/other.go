//go:build !linux

package socket

import (
	"errors"
	"syscall"
	"time"
)

// What only Linux has is missing here: reading it always fails with errors.ErrUnsupported.

// TCPInfo exists on Linux only: elsewhere it has no figures.
type TCPInfo struct{ connectTime uint32 }

func (*TCPInfo) read(int) error { return errors.ErrUnsupported }

// Value returns that no figure is known.
func (*TCPInfo) Value(Figure) (value int64, known bool) { return 0, false }

func (*Measurement) read(int) error { return errors.ErrUnsupported }

// Drops can be read on Linux only.
type Drops struct{}

// Of always fails with errors.ErrUnsupported.
func (*Drops) Of(syscall.Conn) (uint32, error) { return 0, errors.ErrUnsupported }

// leastQUICBuffer is quicBuffer, since no buffer can be read.
const leastQUICBuffer = quicBuffer

// AddTrafficClass does nothing: elsewhere there is no such option.
func AddTrafficClass([]byte, byte) {}

// KernelRelease returns nothing: no option's presence depends on it.
func KernelRelease() string { return "" }

// HasCapability reports false: capabilities are Linux's.
func HasCapability(string) bool { return false }

// WithoutCapabilities always fails with errors.ErrUnsupported: capabilities are Linux's.
func WithoutCapabilities(func()) error { return errors.ErrUnsupported }

func errnoName(syscall.Errno) string { return "" }

// What a Conn needs: there is none.

func readOrPeek(int, []byte) (int, syscall.Errno) { return 0, 0 }
func hasQueued(int) bool                          { return false }
func delayedAckMax(int) time.Duration             { return 0 }
