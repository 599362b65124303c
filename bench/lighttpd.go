//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

const lighttpd = "lighttpd"

// lighttpdServer opens a connection to a backend for each request: it has no other
// way.
var lighttpdServer = server{lighttpd, peerSeats(lighttpd), func(l *lineup, _ []seat, dir string, at []int) ([]string, error) {
	file := filepath.Join(dir, "lighttpd.conf")
	var proxies strings.Builder
	for i, backend := range l.backends(at) {
		host, port, err := net.SplitHostPort(backend)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&proxies, `$SERVER["socket"] == "%s" {
	proxy.server = ( "" => (( "host" => "%s", "port" => %s )) )
}
`, address(l.host, at[2+i]), host, port)
	}
	text := fmt.Sprintf(`server.modules = ( "mod_openssl", "mod_proxy" )
server.bind = "%s"
server.port = %d
server.document-root = "%s"
server.max-fds = %d
server.max-connections = %d
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 300
mimetype.assign = ( ".txt" => "text/plain", "" => "application/octet-stream" )
$SERVER["socket"] == "%s" {
	ssl.engine = "enable"
	ssl.pemfile = "%s"
}
%s`, l.host, at[0], l.site.dir, descriptors, descriptors/2, address(l.host, at[1]), l.site.certificate, &proxies)
	return []string{"lighttpd", "-D", "-f", file}, os.WriteFile(file, []byte(text), 0o600)
}}
