//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// nearHost and farHost are the two ends of the veth pair: addresses for benchmarks (RFC
// 2544), of a subnet for each process that measures at the same time.
var nearHost, farHost = func() (near, far string) {
	subnet := os.Getpid() % (1 << 15)
	end := func(host int) string {
		n := subnet<<2 + host
		return fmt.Sprintf("198.%d.%d.%d", 18+n>>16, n>>8&0xff, n&0xff)
	}
	return end(1), end(2)
}()

// namespace is a network of its own, behind a veth pair.
type namespace struct{ name string }

var errNotRoot = errors.New("a network namespace needs root")

// newNamespace makes one. The pair's MTU is Ethernet's.
func newNamespace(ctx context.Context) (*namespace, error) {
	if os.Geteuid() != 0 {
		return nil, errNotRoot
	}
	n := &namespace{fmt.Sprintf("sockopt-bench-%d", os.Getpid())}
	near, far := fmt.Sprintf("sn%d", os.Getpid()), fmt.Sprintf("sf%d", os.Getpid())
	for _, args := range [][]string{
		{"netns", "add", n.name},
		{"link", "add", near, "mtu", "1500", "type", "veth", "peer", "name", far, "mtu", "1500", "netns", n.name},
		{"address", "add", nearHost + "/30", "dev", near},
		{"link", "set", near, "up"},
		{"-n", n.name, "address", "add", farHost + "/30", "dev", far},
		{"-n", n.name, "link", "set", far, "up"},
		{"-n", n.name, "link", "set", "lo", "up"},
	} {
		if _, err := output(ctx, "", "ip", args...); err != nil {
			return nil, errors.Join(err, n.remove())
		}
	}
	return n, nil
}

// wrap starts a command in the namespace, in place of itself.
func (n *namespace) wrap() []string { return []string{"ip", "netns", "exec", n.name} }

// remove removes the namespace, and with it the pair.
func (n *namespace) remove() error {
	_, err := output(context.Background(), "", "ip", "netns", "delete", n.name)
	return err
}
