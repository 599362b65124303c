//go:build linux

package main

import (
	"net"
	"strconv"
)

// ports returns ports that the kernel picked, all different. Until the server takes
// one somebody else may; then the server is started again with others.
func ports(host string, count int) ([]int, error) {
	picked := make([]int, count)
	for i := range picked {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		picked[i] = ln.Addr().(*net.TCPAddr).Port
	}
	return picked, nil
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
