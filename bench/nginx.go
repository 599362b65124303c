//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// peerSeats are what each of the other servers does.
func peerSeats(name string) []seat {
	return []seat{
		{work: plain, system: name},
		{work: secure, system: name},
		{work: behindNagle, system: name},
		{work: behindNoDelay, system: name},
	}
}

// nginxServer keeps its connections to backends, which it doesn't by itself.
var nginxServer = server{"nginx", peerSeats("nginx"), func(l *lineup, _ []seat, dir string, at []int) ([]string, error) {
	file := filepath.Join(dir, "nginx.conf")
	var proxies strings.Builder
	for i, backend := range l.backends(at) {
		fmt.Fprintf(&proxies, `
	upstream backend%[1]d { server %[3]s; keepalive 64; keepalive_requests 100000000; }
	server {
		listen %[2]s;
		location / { proxy_pass http://backend%[1]d; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}`, i, address(l.host, at[2+i]), backend)
	}
	text := fmt.Sprintf(`daemon off;
pid %[1]s/pid;
%[6]s
worker_processes auto;
worker_rlimit_nofile %[7]d;
events { worker_connections %[7]d; }
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	sendfile on;
	keepalive_requests 100000000;
	keepalive_timeout 300s;
	types { text/plain txt; }
	root %[2]s;
	server { listen %[3]s; }
	server { listen %[4]s ssl http2; ssl_certificate %[5]s; ssl_certificate_key %[5]s; }%[8]s
}
`, dir, l.site.dir, address(l.host, at[0]), address(l.host, at[1]), l.site.certificate, asRoot("user root;"), descriptors, &proxies)
	return []string{"nginx", "-e", "stderr", "-c", file}, os.WriteFile(file, []byte(text), 0o600)
}}

// asRoot is a line of a configuration that only root may have.
func asRoot(line string) string {
	if os.Geteuid() != 0 {
		return ""
	}
	return line
}

// backends returns the addresses of the Nagle backend and the other, for the ports
// from the third on.
func (l *lineup) backends(at []int) []string {
	if len(at) <= 2 {
		return nil
	}
	slow, _ := l.find(plain, paste) // there are seats only where there are backends
	fast, _ := l.find(plain, pasteMend)
	return []string{slow.addr, fast.addr}
}
