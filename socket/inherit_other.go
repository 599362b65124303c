//go:build !linux

package socket

import "net"

// Inherited returns nothing: elsewhere every option is set on every connection.
func Inherited(net.ListenConfig, []Setting, bool) ([]Setting, error) { return nil, nil }
