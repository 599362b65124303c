//go:build !linux

package socket

import (
	"errors"
	"syscall"
)

// SpeaksMPTCP reports whether the socket of c is one of MPTCP: never, here.
func SpeaksMPTCP(syscall.Conn) bool { return false }

// Queued returns errors.ErrUnsupported: only Linux tells.
func Queued(syscall.Conn) (connections int, err error) { return 0, errors.ErrUnsupported }
