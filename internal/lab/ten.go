package lab

// TenUsual are ten options that operators set, as lines of a Caddyfile: those of nginx's
// directives listen and tcp_nodelay, without the deferred accept, and of HAProxy's tcp-ut.
var TenUsual = []string{
	"nodelay on", "keepalive on", "keepalive_idle 60s", "keepalive_interval 10s", "keepalive_count 6",
	"recv_buffer 256KiB", "send_buffer 256KiB", "backlog 4096", "fastopen 256", "user_timeout 30s",
}

// TenCostly are ten options that are set on every accepted connection and leave it as
// fast as it is: each takes a system call, dscp and ttl two.
var TenCostly = []string{
	"nodelay on", "notsent_lowat 1MiB", "thin_stream on", "keepalive on", "keepalive_idle 60s",
	"keepalive_interval 10s", "keepalive_count 6", "user_timeout 30s", "dscp af11", "ttl 64",
}
