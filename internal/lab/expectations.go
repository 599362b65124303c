package lab

// Expected is what must be true of an option, stated independently of the product.
type Expected struct {
	Kernel        string // the kernel's name
	Level, Number int    // both arguments of setsockopt(2); none for one that is not a socket's
	Phases        string // the initials of listen, accept, dial, route and packet

	// Sample is a value that differs from what a socket has without the option, Effective
	// what getsockopt(2) reads then, and JSON the sample in JSON, first as it is printed.
	Sample    string
	Effective string
	JSON      []string

	// Refused are values out of the range that the kernel's interface takes, and Within
	// is that range.
	Refused []string
	Within  string
}

// Levels of setsockopt(2) on Linux.
const (
	levelIP     = 0
	levelSocket = 1
	levelTCP    = 6
)

// Expectations has a line for each row of options/options.go.
var Expectations = map[string]Expected{
	"nodelay": {
		Kernel: "TCP_NODELAY", Level: levelTCP, Number: 1, Phases: "ADR",
		Sample: "off", Effective: "0", JSON: []string{`false`, `"off"`},
	},
	"quickack": {
		Kernel: "TCP_QUICKACK", Level: levelTCP, Number: 12, Phases: "AD",
		Sample: "off", Effective: "0", JSON: []string{`"off"`},
	},
	"delayed_ack_max": {
		Kernel: "TCP_DELACK_MAX_US", Level: levelTCP, Number: 46, Phases: "ADR",
		Sample: "40ms", Effective: "40000", JSON: []string{`"40ms"`, `40000000`, `"0.04s"`},
		Refused: []string{"200.001ms", "201ms", "24h"}, Within: "0s to 200ms",
	},
	"notsent_lowat": {
		Kernel: "TCP_NOTSENT_LOWAT", Level: levelTCP, Number: 25, Phases: "ADR",
		Sample: "128KiB", Effective: "131072", JSON: []string{`131072`, `"128KiB"`, `"131072"`},
		Refused: []string{"0", "2GiB"}, Within: "1 to 2147483647 bytes",
	},
	"cork": {
		Kernel: "TCP_CORK", Level: levelTCP, Number: 3, Phases: "R",
		Sample: "on", Effective: "1", JSON: []string{`true`, `"on"`},
	},
	"busy_poll": {
		Kernel: "SO_BUSY_POLL", Level: levelSocket, Number: 46, Phases: "ADP",
		Sample: "50us", Effective: "50", JSON: []string{`"50us"`, `"50µs"`},
		Refused: []string{"35m47.483648s"}, Within: "0s to 35m47.483647s",
	},
	"recv_buffer": {
		Kernel: "SO_RCVBUF", Level: levelSocket, Number: 8, Phases: "LADP",
		Sample: "96KiB", Effective: "196608", JSON: []string{`98304`, `"96KiB"`},
		Refused: []string{"0", "2GiB", "7EiB"}, Within: "1 to 1073741823 bytes",
	},
	"send_buffer": {
		Kernel: "SO_SNDBUF", Level: levelSocket, Number: 7, Phases: "LADRP",
		Sample: "192KiB", Effective: "393216", JSON: []string{`196608`, `"192KiB"`},
		Refused: []string{"0", "2GiB"}, Within: "1 to 1073741823 bytes",
	},
	"congestion": {
		Kernel: "TCP_CONGESTION", Level: levelTCP, Number: 13, Phases: "LADR",
		Sample: "reno", Effective: "reno", JSON: []string{`"reno"`},
	},
	"pacing_rate": {
		Kernel: "SO_MAX_PACING_RATE", Level: levelSocket, Number: 47, Phases: "ADR",
		Sample: "10MiB", Effective: "10485760", JSON: []string{`10485760`, `"10MiB"`},
		Refused: []string{"0"}, Within: "1 to 9223372036854775807 bytes",
	},
	"pacing_after": {
		Phases: "R",
		Sample: "1MiB", JSON: []string{`1048576`, `"1MiB"`},
		Refused: []string{"0"}, Within: "1 to 9223372036854775807 bytes",
	},
	"window_clamp": {
		Kernel: "TCP_WINDOW_CLAMP", Level: levelTCP, Number: 10, Phases: "ADR",
		Sample: "48KiB", Effective: "49152", JSON: []string{`49152`, `"48KiB"`},
		Refused: []string{"0", "2GiB"}, Within: "1 to 2147483647 bytes",
	},
	"max_segment": {
		Kernel: "TCP_MAXSEG", Level: levelTCP, Number: 2, Phases: "LD",
		Sample: "1200", Effective: "1200", JSON: []string{`1200`, `"1200"`, `"1.2kB"`},
		Refused: []string{"0", "87", "32KiB"}, Within: "88 to 32767 bytes",
	},
	"thin_stream": {
		Kernel: "TCP_THIN_LINEAR_TIMEOUTS", Level: levelTCP, Number: 16, Phases: "ADR",
		Sample: "on", Effective: "1", JSON: []string{`true`, `"on"`},
	},
	"keepalive": {
		Kernel: "SO_KEEPALIVE", Level: levelSocket, Number: 9, Phases: "AD",
		Sample: "off", Effective: "0", JSON: []string{`false`, `"off"`},
	},
	"keepalive_idle": {
		Kernel: "TCP_KEEPIDLE", Level: levelTCP, Number: 4, Phases: "AD",
		Sample: "2m", Effective: "120", JSON: []string{`"2m"`, `120000000000`, `"120s"`},
		Refused: []string{"0s", "999ms", "9h6m8s"}, Within: "1s to 9h6m7s",
	},
	"keepalive_interval": {
		Kernel: "TCP_KEEPINTVL", Level: levelTCP, Number: 5, Phases: "AD",
		Sample: "7s", Effective: "7", JSON: []string{`"7s"`, `7000000000`},
		Refused: []string{"0s", "999ms", "9h6m8s"}, Within: "1s to 9h6m7s",
	},
	"keepalive_count": {
		Kernel: "TCP_KEEPCNT", Level: levelTCP, Number: 6, Phases: "AD",
		Sample: "5", Effective: "5", JSON: []string{`5`, `"5"`, `"0x5"`},
		Refused: []string{"0", "-1", "128"}, Within: "1 to 127",
	},
	"user_timeout": {
		Kernel: "TCP_USER_TIMEOUT", Level: levelTCP, Number: 18, Phases: "ADR",
		Sample: "30s", Effective: "30000", JSON: []string{`"30s"`, `30000000000`},
		Refused: []string{"596h31m23.648s"}, Within: "0s to 596h31m23.647s",
	},
	"linger": {
		Kernel: "SO_LINGER", Level: levelSocket, Number: 13, Phases: "A",
		Sample: "5s", Effective: "1 5", JSON: []string{`"5s"`, `5000000000`},
		Refused: []string{"9h6m8s"}, Within: "0s to 9h6m7s",
	},
	"fin_timeout": {
		Kernel: "TCP_LINGER2", Level: levelTCP, Number: 8, Phases: "AD",
		Sample: "30s", Effective: "30", JSON: []string{`"30s"`, `30000000000`},
		Refused: []string{"0s", "999ms", "596523h14m8s"}, Within: "1s to 596523h14m7s",
	},
	"rto_min": {
		Kernel: "TCP_RTO_MIN_US", Level: levelTCP, Number: 45, Phases: "ADR",
		Sample: "60ms", Effective: "60000", JSON: []string{`"60ms"`, `60000000`},
		Refused: []string{"200.001ms", "201ms"}, Within: "0s to 200ms",
	},
	"rto_max": {
		Kernel: "TCP_RTO_MAX_MS", Level: levelTCP, Number: 44, Phases: "ADR",
		Sample: "10s", Effective: "10000", JSON: []string{`"10s"`, `10000000000`},
		Refused: []string{"0s", "999ms", "2m0.001s"}, Within: "1s to 2m",
	},
	"dscp": {
		Kernel: "IP_TOS, IPV6_TCLASS", Level: levelIP, Number: 1, Phases: "ADRP",
		Sample: "ef", Effective: "184", JSON: []string{`"ef"`, `46`, `"46"`},
	},
	"priority": {
		Kernel: "SO_PRIORITY", Level: levelSocket, Number: 12, Phases: "ADRP",
		Sample: "3", Effective: "3", JSON: []string{`3`, `"3"`},
		Refused: []string{"-1", "2147483648"}, Within: "0 to 2147483647",
	},
	"mark": {
		Kernel: "SO_MARK", Level: levelSocket, Number: 36, Phases: "ADRP",
		Sample: "0x2a", Effective: "42", JSON: []string{`42`, `"0x2a"`, `"42"`},
		Refused: []string{"-1", "0x100000000"}, Within: "0x0 to 0xffffffff",
	},
	"ttl": {
		Kernel: "IP_TTL, IPV6_UNICAST_HOPS", Level: levelIP, Number: 2, Phases: "ADP",
		Sample: "42", Effective: "42", JSON: []string{`42`, `"42"`},
		Refused: []string{"0", "-1", "256"}, Within: "1 to 255",
	},
	"interface": {
		Kernel: "SO_BINDTODEVICE", Level: levelSocket, Number: 25, Phases: "LDP",
		Sample: "lo", Effective: "lo", JSON: []string{`"lo"`},
	},
	"local_port_range": {
		Kernel: "IP_LOCAL_PORT_RANGE", Level: levelIP, Number: 51, Phases: "D",
		Sample: "40000-40019", Effective: "-1672242112", JSON: []string{`"40000-40019"`},
	},
	"syn_count": {
		Kernel: "TCP_SYNCNT", Level: levelTCP, Number: 7, Phases: "D",
		Sample: "2", Effective: "2", JSON: []string{`2`, `"2"`},
		Refused: []string{"0", "128"}, Within: "1 to 127",
	},
	"multipath": {
		Kernel: "IPPROTO_MPTCP", Phases: "LD",
		Sample: "on", Effective: "1", JSON: []string{`true`, `"on"`},
	},
	"backlog": {
		Kernel: "listen(2)", Level: levelTCP, Number: 11, Phases: "L",
		Sample: "7", Effective: "7", JSON: []string{`7`, `"7"`},
		Refused: []string{"0", "-1", "2147483648"}, Within: "1 to 2147483647",
	},
	"defer_accept": {
		Kernel: "TCP_DEFER_ACCEPT", Level: levelTCP, Number: 9, Phases: "L",
		Sample: "3s", Effective: "3", JSON: []string{`"3s"`, `3000000000`},
		Refused: []string{"596523h14m8s"}, Within: "0s to 596523h14m7s",
	},
	"save_syn": {
		Kernel: "TCP_SAVE_SYN", Level: levelTCP, Number: 27, Phases: "L",
		Sample: "on", Effective: "1", JSON: []string{`true`, `"on"`},
	},
	"transparent": {
		Kernel: "IP_TRANSPARENT, IPV6_TRANSPARENT", Level: levelIP, Number: 19, Phases: "D",
		Sample: "on", Effective: "1", JSON: []string{`true`, `"on"`},
	},
	"fastopen": {
		Kernel: "TCP_FASTOPEN", Level: levelTCP, Number: 23, Phases: "L",
		Sample: "16", Effective: "16", JSON: []string{`16`, `"16"`},
		Refused: []string{"-1", "2147483648"}, Within: "0 to 2147483647",
	},
	"raw": {
		Kernel: "any", Level: levelIP, Number: 10, Phases: "LADRP", // IP_MTU_DISCOVER
		Sample: "0 10 3", Effective: "3", JSON: []string{
			`[{"level":0,"option":10,"value":3}]`,
			`[{"level":"0","option":"0xa","value":"3"}]`,
		},
	},
	"metrics": {
		Phases: "ADP",
		Sample: "", JSON: []string{`true`},
	},
	"peers": {
		Phases: "AD",
		Sample: "off", JSON: []string{`false`},
	},
	"on_unsupported": {
		Phases: "LADRP",
		Sample: "warn", JSON: []string{`"warn"`},
	},
}
