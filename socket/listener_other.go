//go:build !linux

package socket

import (
	"errors"
	"syscall"
)

// SpeaksMPTCP reports false: MPTCP is used on Linux only.
func SpeaksMPTCP(syscall.Conn) bool { return false }

// Queued returns errors.ErrUnsupported: only Linux says.
func Queued(syscall.Conn) (connections int, err error) { return 0, errors.ErrUnsupported }
