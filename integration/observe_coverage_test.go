package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

const coverageMessage = "what sockopt covers, and what it does not"

// covered is the line of the log that says what has options.
type covered struct {
	Message           string `json:"msg"`
	Listeners         string `json:"listeners"`
	ListenersWithout  string `json:"listeners_without"`
	Packets           string `json:"packets"`
	PacketsWithout    string `json:"packets_without"`
	Transports        string `json:"transports"`
	TransportsWithout string `json:"transports_without"`
}

// lacking is an entry of what has none.
type lacking struct{ Lacks, Server, Address, Upstream, Trap, Fix string }

// coverageOf returns the latest line, what the admin API shows, and the warnings.
func coverageOf(t *testing.T, c *lab.Running) (line covered, shown []lacking, warnings []string) {
	t.Helper()
	for text := range strings.Lines(c.Logged()) {
		if strings.Contains(text, coverageMessage) {
			require.Less(t, len(text), 2000)
			require.NoError(t, json.Unmarshal([]byte(text), &line))
			warnings = nil
		}
		if strings.Contains(text, `"level":"warn"`) && strings.Contains(text, `"logger":"sockopt.coverage"`) {
			var w covered
			require.NoError(t, json.Unmarshal([]byte(text), &w))
			warnings = append(warnings, w.Message)
		}
	}
	_, answer := c.API(http.MethodGet, "/sockopt/", "", "")
	var status struct{ Uncovered []lacking }
	require.NoError(t, json.Unmarshal([]byte(answer), &status))
	require.NotNil(t, status.Uncovered, answer)
	return line, status.Uncovered, warnings
}

// TestCoverageTraps: a block of a server replaces the one without an address, and a block
// with a port does not match a site that has bind. The warning names the block to add, and
// with that it is gone.
func TestCoverageTraps(t *testing.T) {
	inprocess.Parallel(t)
	first, second := ":"+lab.PortOf(lab.Address(t)), ":"+lab.PortOf(lab.Address(t))
	site := func(address, lines string) string {
		return fmt.Sprintf("http://%s {\n%s\nrespond ok\n}\n", address, lines)
	}
	named := func(address, name, lines string) string {
		return fmt.Sprintf("servers %s {\nname %s\n%s\n}\n", address, name, lines)
	}
	const wrapper = "listener_wrappers {\nsockopt\n}\n"
	for _, test := range []struct{ name, global, sites, trap, address string }{
		{
			"own block", "servers {\n" + wrapper + "}\n" + named(second, "b", "protocols h1"), site(first, "") + site(second, ""),
			"its own block servers replaces the one without an address", second,
		},
		{
			"bind", named(first, "a", wrapper) + named(second, "b", wrapper), site(first, "") + site(second, "bind 127.0.0.1"),
			"a block servers with a port alone does not match a site that has bind", "127.0.0.1" + second,
		},
	} {
		c := inprocess.Run(t, test.global, test.sites)
		line, shown, warnings := coverageOf(t, c)
		require.Len(t, shown, 1, test.name)
		server, fix := shown[0].Server, fmt.Sprintf("servers %s { listener_wrappers { sockopt } }", test.address)
		require.Equal(t, []lacking{{"listener_wrappers", server, test.address, "", test.trap, fix}}, shown, test.name)
		require.Equal(t, server, line.ListenersWithout)
		require.NotEmpty(t, line.Listeners)
		require.Equal(t, []string{"a server has no listener wrapper sockopt, and others have: " + test.trap + "; add " + fix}, warnings, test.name)

		fixed := strings.NewReplacer("{ ", "{\n", " }", "\n}").Replace(fix)
		if test.name == "own block" { // a block is added to
			fixed = ""
			test.global = strings.Replace(test.global, "protocols h1", "protocols h1\n"+wrapper, 1)
		}
		c.Reload(test.global+fixed, test.sites)
		line, shown, warnings = coverageOf(t, c)
		require.Empty(t, line.ListenersWithout, test.name)
		require.Empty(t, shown, test.name)
		require.Empty(t, warnings, test.name)
	}
}

// TestCoverage: servers, UDP sockets and proxies with and without options; nobody is warned
// of a server that was left out by its address, and a configuration without the plugin is
// told nothing.
func TestCoverage(t *testing.T) {
	inprocess.Parallel(t)
	var l lab.Sites
	l.Certify(t)
	front, side := lab.Address(t), lab.Address(t)
	global := "servers :" + lab.PortOf(front) + " {\nname front\nlistener_wrappers {\nsockopt\n}\npacket_conn_wrappers {\nsockopt {\nttl 9\n}\n}\n}\n" +
		"servers :" + lab.PortOf(side) + " {\nname side\n}\n"
	tls := fmt.Sprintf("tls %s %[1]s\n", l.Certificate.File)
	sites := "https://" + front + " {\n" + tls + "reverse_proxy /a 127.0.0.1:1 {\ntransport sockopt\n}\n" +
		"handle /b/* {\nreverse_proxy 127.0.0.1:2 127.0.0.1:3\n}\nreverse_proxy /c unix//none {\ntransport fastcgi\n}\n}\n" +
		"https://" + side + " {\n" + tls + "respond ok\n}\nhttp:// {\nbind unix/" + t.TempDir() + "/socket\nrespond ok\n}\n"
	c := inprocess.Run(t, global, sites)
	line, shown, warnings := coverageOf(t, c)
	require.Equal(t, covered{
		coverageMessage, "front", "side", "front", "side", "front to 127.0.0.1:1", "front to 127.0.0.1:2, 127.0.0.1:3",
	}, line)
	require.Len(t, shown, 3)
	require.Empty(t, warnings)

	c.Reload("", sites[strings.Index(sites, "http:// {"):])
	require.Equal(t, 1, strings.Count(c.Logged(), coverageMessage))
	_, shown, _ = coverageOf(t, c)
	require.Empty(t, shown)
}

// TestCoverageIsBrief: the line is bounded, however many servers there are.
func TestCoverageIsBrief(t *testing.T) {
	inprocess.Parallel(t)
	var sites strings.Builder
	for range 100 {
		fmt.Fprintf(&sites, "http://%s {\nreverse_proxy 127.0.0.1:1 {\ntransport sockopt\n}\n}\n", lab.Address(t))
	}
	line, shown, warnings := coverageOf(t, inprocess.Run(t, "", sites.String()))
	require.Regexp(t, `^srv0, .* and \d+ more$`, line.ListenersWithout)
	require.Len(t, shown, 100)
	require.Empty(t, warnings)
}
