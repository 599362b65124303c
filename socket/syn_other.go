//go:build !linux

package socket

import "syscall"

// SavedSYN returns nothing: only Linux saves it.
func SavedSYN(syscall.Conn) (syn SYN, ok bool) { return SYN{}, false }
