package lab

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ReservePort returns a port that the kernel picked. A socket that never listens keeps it:
// until it is released, the kernel picks the port for nobody else, neither for a server
// nor for a client, and connections to it are refused. A server that names the port may
// listen there, since it has SO_REUSEADDR, as nearly all servers have, or SO_REUSEPORT, as
// Caddy has. The socket is bound to all addresses, as Caddy's is: another program that
// binds the port of one loopback address would be in Caddy's way.
func ReservePort() (port int, release func(), err error) {
	port, release, err = reserve(unix.AF_INET6, new(unix.SockaddrInet6))
	if err != nil { // no IPv6
		port, release, err = reserve(unix.AF_INET, new(unix.SockaddrInet4))
	}
	return port, release, err
}

func reserve(family int, all unix.Sockaddr) (port int, release func(), err error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	release = func() { _ = unix.Close(fd) }
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(fd, all),
	)
	if err != nil {
		release()
		return 0, nil, err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		release()
		return 0, nil, os.NewSyscallError("getsockname", err)
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet6:
		port = a.Port
	case *unix.SockaddrInet4:
		port = a.Port
	}
	return port, release, nil
}
