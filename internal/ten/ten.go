// Package ten has lists of ten options, as lines of a Caddyfile, with which the tests
// and the bench show what options cost an accepted connection.
package ten

// Usual are ten that operators set: those of nginx's directives listen and
// tcp_nodelay, without the deferred accept, and of HAProxy's tcp-ut.
var Usual = []string{
	"nodelay on", "keepalive on", "keepalive_idle 60s", "keepalive_interval 10s", "keepalive_count 6",
	"recv_buffer 256KiB", "send_buffer 256KiB", "backlog 4096", "fastopen 256", "user_timeout 30s",
}

// Dear are ten that every accepted connection takes, and that leave it as fast as it
// is: most of them a system call for each, dscp and ttl two.
var Dear = []string{
	"nodelay on", "notsent_lowat 1MiB", "thin_stream on", "keepalive on", "keepalive_idle 60s",
	"keepalive_interval 10s", "keepalive_count 6", "user_timeout 30s", "dscp af11", "ttl 64",
}
