//go:build !linux

package lab

import "net"

// ReservePort returns a port of 127.0.0.1 that the kernel picked. Here nothing keeps
// others away from it.
func ReservePort() (port int, release func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, func() {}, nil
}
