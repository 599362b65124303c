//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// apacheServer has its event module, and room for ten thousand idle connections.
var apacheServer = server{"Apache httpd", peerSeats("Apache httpd"), func(l *lineup, _ []seat, dir string, at []int) ([]string, error) {
	file := filepath.Join(dir, "httpd.conf")
	var proxies strings.Builder
	for i, backend := range l.backends(at) {
		fmt.Fprintf(&proxies, `
Listen %[1]s
<VirtualHost %[1]s>
	ProxyPass / http://%[2]s/ keepalive=On
</VirtualHost>
`, address(l.host, at[2+i]), backend)
	}
	var modules strings.Builder
	for _, m := range []string{"mpm_event", "authz_core", "mime", "ssl", "http2", "proxy", "proxy_http"} {
		fmt.Fprintf(&modules, "LoadModule %s_module /usr/lib/apache2/modules/mod_%[1]s.so\n", m)
	}
	text := fmt.Sprintf(`ServerRoot %[1]s
DefaultRuntimeDir %[1]s
PidFile %[1]s/pid
ServerName %[2]s
ErrorLog %[1]s/error.log
%[3]s%[4]s
ServerLimit 4
StartServers 4
ThreadsPerChild 32
MaxRequestWorkers 128
MaxSpareThreads 128
AsyncRequestWorkerFactor 200
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 300
Timeout 300
TypesConfig /dev/null
AddType text/plain .txt
DocumentRoot %[5]s
Protocols h2 http/1.1
Listen %[6]s
Listen %[7]s
<VirtualHost %[7]s>
	SSLEngine on
	SSLCertificateFile %[8]s
	SSLCertificateKeyFile %[8]s
</VirtualHost>
%[9]s`, dir, l.host, &modules, asRoot("User nobody\nGroup nogroup"), l.site.dir,
		address(l.host, at[0]), address(l.host, at[1]), l.site.certificate, &proxies)
	return []string{"apache2", "-DFOREGROUND", "-f", file}, os.WriteFile(file, []byte(text), 0o600)
}}
