//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// haproxyServer serves no files: it returns the payload from memory. It may have more
// connections than half of its descriptors, since those of row 6 have no server.
var haproxyServer = server{"HAProxy", peerSeats("HAProxy"), func(l *lineup, _ []seat, dir string, at []int) ([]string, error) {
	file := filepath.Join(dir, "haproxy.cfg")
	var proxies strings.Builder
	for i, backend := range l.backends(at) {
		fmt.Fprintf(&proxies, `
listen proxy%d
	bind %s
	http-reuse always
	server backend %s
`, i, address(l.host, at[2+i]), backend)
	}
	returns := "http-request return status 200 content-type text/plain file " + filepath.Join(l.site.dir, starsPath)
	text := fmt.Sprintf(`global
	no strict-limits
	maxconn %d
	tune.bufsize 32768
defaults
	mode http
	option http-keep-alive
	timeout connect 10s
	timeout client 300s
	timeout server 300s
	timeout http-keep-alive 300s
frontend plain
	bind %s
	%s
frontend secure
	bind %s ssl crt %s alpn h2,http/1.1
	%[3]s
%[6]s`, descriptors*3/5, address(l.host, at[0]), returns, address(l.host, at[1]), l.site.certificate, &proxies)
	return []string{"haproxy", "-db", "-f", file}, os.WriteFile(file, []byte(text), 0o600)
}}
