package integration_test

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// program is a client as Debian has it. The page README.md has its figures.
type program struct {
	name    string
	command []string // URL, HOST and PORT stand for the server's
	has     []string // arguments with which it ends well where its modules are installed
	waits   bool     // for the server's timer, in stock Caddy: it leaves TCP_NODELAY alone

	// whole programs are timed from their start to their end, and others print how many
	// milliseconds each of a batch of new connections took them.
	whole bool

	// own is much work of its own for each connection: only the difference tells.
	own bool
}

var programs = []program{
	{name: "PHP file_get_contents", waits: true, has: []string{"-r", `exit(extension_loaded("openssl") ? 0 : 1);`}, command: []string{"php", "-r", `
		$context = stream_context_create(["ssl" => ["verify_peer" => false, "verify_peer_name" => false]]);
		for ($i = 0; $i < 11; $i++) {
			$begin = hrtime(true);
			if (strlen(file_get_contents($argv[1], false, $context)) != 10000) exit(1);
			echo (hrtime(true) - $begin) / 1e6, "\n";
		}`, "URL"}},
	{name: "Erlang httpc", waits: true, has: []string{"-env", "ERL_CRASH_DUMP_SECONDS", "0", "-noshell", "-eval", "ok = inets:start(), ok = ssl:start(), halt()."}, command: []string{"erl", "-env", "ERL_CRASH_DUMP_SECONDS", "0", "-noshell", "-eval", `
		inets:start(), ssl:start(), [URL] = init:get_plain_arguments(),
		[begin
			{Took, {ok, {{_, 200, _}, _, _}}} = timer:tc(fun() ->
				httpc:request(get, {URL, [{"connection", "close"}]}, [{ssl, [{verify, verify_none}]}], []) end),
			io:format("~p~n", [Took / 1000])
		end || _ <- lists:seq(1, 11)], halt().`, "-extra", "URL"}},
	{name: "Perl HTTP::Tiny", waits: true, own: true, has: []string{"-MIO::Socket::SSL", "-e", "1"}, command: []string{"perl", "-MHTTP::Tiny", "-MTime::HiRes=time", "-e", `
		for (1 .. 11) {
			my $begin = time;
			my $answer = HTTP::Tiny->new(verify_SSL => 0, keep_alive => 0)->get($ARGV[0]);
			die $answer->{content} unless length($answer->{content}) == 10000;
			print 1e3 * (time - $begin), "\n";
		}`, "URL"}},
	{name: "Perl LWP", waits: true, own: true, has: []string{"-MLWP::Protocol::https", "-e", "1"}, command: []string{"perl", "-MLWP::UserAgent", "-MTime::HiRes=time", "-e", `
		for (1 .. 11) {
			my $begin = time;
			my $answer = LWP::UserAgent->new(ssl_opts => {verify_hostname => 0, SSL_verify_mode => 0})->get($ARGV[0]);
			die $answer->status_line unless length($answer->content) == 10000;
			print 1e3 * (time - $begin), "\n";
		}`, "URL"}},
	{name: "Python ssl", waits: true, command: []string{lab.Python, "-c", `
import socket, ssl, sys, time
for _ in range(11):
    with socket.create_connection((sys.argv[1], sys.argv[2])) as tcp:
        conn = ssl._create_unverified_context().wrap_socket(tcp)
        begin = time.perf_counter()
        conn.sendall(b"GET / HTTP/1.1\r\nHost: %s:%s\r\n\r\n" % (sys.argv[1].encode(), sys.argv[2].encode()))
        assert conn.recv(12) == b"HTTP/1.1 200"
        print(1e3 * (time.perf_counter() - begin))
`, "HOST", "PORT"}},
	{name: "wget", waits: true, whole: true, command: []string{"wget", "--quiet", "--no-check-certificate", "--output-document=/dev/null", "URL"}},
	{name: "curl", whole: true, command: []string{"curl", "--silent", "--insecure", "--output", "/dev/null", "URL"}},
}

// TestPrograms opens new HTTPS connections with ordinary programs. In stock Caddy those
// that leave TCP_NODELAY alone wait for the server's timer before each first request.
// With -v it logs the table of README.md.
func TestPrograms(t *testing.T) { // alone: beside others a whole run takes ten times as long as the wait
	var l lab.Sites
	stock := l.Add(t, lab.Stock, lab.TLS, "echo_payload")
	auto := l.Add(t, lab.Auto, lab.TLS, "echo_payload")
	l.Spawn(t)
	table := lab.NewTable("client", "stock Caddy", "with `sockopt`", "")
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			path := lab.Require(t, p.command[0])
			if p.has != nil && lab.Command(t.Context(), path, p.has...).Run() != nil {
				lab.Missing(t, "modules of "+p.name+" are not installed")
			}
			var before, after time.Duration
			right := func() bool {
				switch less := before - after; {
				case !p.waits:
					return less < 20*time.Millisecond
				case p.whole, p.own, !lab.IsLong(): // the short form runs beside other packages
					return less >= 30*time.Millisecond
				default:
					return before > 40*time.Millisecond && after < 10*time.Millisecond
				}
			}
			for range 5 { // a busy machine delays some runs that much, and a timer all of them
				if before, after = p.median(t, stock), p.median(t, auto); right() {
					break
				}
			}
			require.True(t, right(), "%v in stock Caddy, %v with sockopt", before, after)
			what := map[bool]string{true: "a whole run"}[p.whole]
			table.Row(p.name, milliseconds(before), milliseconds(after), what)
		})
	}
	t.Logf("a new HTTPS connection and its first request, median in ms:\n\n%s", table)
}

// median has the program open a batch of connections, and returns the median of their times.
func (p program) median(t testing.TB, site lab.Site) time.Duration {
	t.Helper()
	host, port, err := net.SplitHostPort(site.Addr)
	require.NoError(t, err)
	args := make([]string, len(p.command))
	for i, arg := range p.command {
		switch arg {
		case "URL":
			arg = site.URL()
		case "HOST":
			arg = host
		case "PORT":
			arg = port
		}
		args[i] = arg
	}
	if p.whole {
		return lab.Median(batchOf(timed(func() { lab.Play(t, nil, args[0], args[1:]...) })))
	}
	lines := strings.Fields(lab.Play(t, nil, args[0], args[1:]...))
	require.Len(t, lines, batch)
	times := make([]time.Duration, batch)
	for i, line := range lines {
		ms, err := strconv.ParseFloat(line, 64)
		require.NoError(t, err)
		times[i] = time.Duration(ms * float64(time.Millisecond))
	}
	return lab.Median(times)
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds()*1e3, 'f', 1, 64)
}
