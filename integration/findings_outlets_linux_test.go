package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/findings"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
)

// trap is a configuration with a server that lacks the wrapper by mistake, and the same repaired.
func trap(t testing.TB) (global, repaired, sites, address string) {
	first, second := ":"+lab.PortOf(lab.Address(t)), ":"+lab.PortOf(lab.Address(t))
	const wrapper = "listener_wrappers {\nsockopt\n}\n"
	global = "servers {\n" + wrapper + "}\nservers " + second + " {\nname second\nprotocols h1\n}"
	repaired = strings.Replace(global, "protocols h1", "protocols h1\n"+wrapper, 1)
	return global, repaired, "http://" + first + " {\nrespond ok\n}\nhttp://" + second + " {\nrespond ok\n}\n", second
}

// lookOften makes the configurations of this process look twenty times a second.
func lookOften(t *testing.T) {
	every := findings.Every
	findings.Every = 50 * time.Millisecond
	t.Cleanup(func() { findings.Every = every })
}

// TestFindUncovered: the API, the command, the log and the gauge show a server without the wrapper.
// With the printed block they do not.
func TestFindUncovered(t *testing.T) {
	inprocess.Parallel(t)
	lookOften(t)
	global, repaired, sites, address := trap(t)
	c := inprocess.Run(t, global, sites)
	warned := func() int { return strings.Count(c.Logged(), `"logger":"sockopt.findings"`) }
	gauge := func() bool {
		value, ok := c.Metric("finding", `address="`+address+`",finding="uncovered",server="second",upstream=""`)
		return ok && value == 1
	}

	f := findWhile(t, c, "0s", func() {}).the(t, "uncovered")
	require.Equal(t, stats.Found{Name: "uncovered", Server: "second", Address: address}, f.Found)
	require.Contains(t, f.Evidence, "its own block servers replaces the one without an address")
	require.Equal(t, "servers "+address+" { listener_wrappers { sockopt } }", f.Fix)
	require.Eventually(t, gauge, lab.Patience, 10*time.Millisecond)

	stdout, stderr, err := lab.CaddyOutput(t, "sockopt", "doctor", "--during", "0s", "--address", c.Admin)
	require.Equal(t, 2, exitOf(t, err), stderr)
	require.Regexp(t, `^Looked for 0s at 1 listeners, 0 backends, 0 UDP sockets and 0 open connections: 1 findings\.\n\n`+
		`uncovered: server second, `+address+`\n  seen:  .*\n  costs: .*\n  fix:   servers `+address+` { listener_wrappers { sockopt } }\n  then:  .*\n$`, stdout)
	require.Empty(t, stderr, "there is no terminal")

	c.Reload(repaired, sites)
	require.Eventually(t, func() bool { return !gauge() }, lab.Patience, 10*time.Millisecond)
	stdout, stderr, err = lab.CaddyOutput(t, "sockopt", "doctor", "--during", "0s", "--address", c.Admin, "--json")
	require.NoError(t, err, stderr)
	var answer found
	require.NoError(t, json.Unmarshal([]byte(stdout), &answer))
	require.Empty(t, answer.Findings)
	require.Equal(t, 2, answer.LookedAt.Listeners)

	// It is new again, and not warned of twice in an hour.
	c.Reload(global, sites)
	require.Eventually(t, gauge, lab.Patience, 10*time.Millisecond)
	require.Equal(t, 1, warned(), c.Logged())
}

// TestFindTwoRoutes: what is found of a second route of a server is logged, too.
func TestFindTwoRoutes(t *testing.T) {
	inprocess.Parallel(t)
	lookOften(t)
	addr := lab.Address(t)
	route := func(path string) string {
		return "sockopt " + path + lab.Block("congestion none0", "on_unsupported warn", "priority 3") + "\n"
	}
	c := inprocess.Run(t, "", "http://"+addr+" {\n"+route("/a")+route("/b")+"echo_payload\n}")
	f := findWhile(t, c, "0s", func() {})
	require.Len(t, f.Findings, 2)
	for i, one := range f.Findings {
		require.Equal(t, statusOf(t, c).Routes[i].Position, one.Position)
		require.Eventually(t, func() bool { return strings.Contains(c.Logged(), fmt.Sprintf(`"position":%q`, one.Position)) }, lab.Patience, 10*time.Millisecond)
	}
	value, _ := c.Metric("finding", `finding="option_not_in_effect"`)
	require.InDelta(t, 1, value, 0)
}

// TestFindingsErrors: what is asked wrongly, and who asks at the same time.
func TestFindingsErrors(t *testing.T) {
	inprocess.Parallel(t)
	c := inprocess.Run(t, lab.Wrappers("sockopt"), lab.EchoSite(lab.Address(t)))
	for _, query := range []string{"?during=61s", "?during=-1s", "?during=x", "?during=1s&during=1s", "?for=1s"} {
		code, answer := c.API(http.MethodGet, "/sockopt/findings"+query, "", "")
		require.Equal(t, http.StatusBadRequest, code, query)
		require.Contains(t, errorIn(t, answer), "give during once, a time from 0s to 60s", query)
	}
	code, _ := c.API(http.MethodPost, "/sockopt/findings", "", "")
	require.Equal(t, http.StatusMethodNotAllowed, code)
	_, stderr, err := lab.CaddyOutput(t, "sockopt", "doctor", "--address", lab.Address(t))
	require.Equal(t, 1, exitOf(t, err))
	require.Contains(t, stderr, "Caddy does not run, its admin API is off, or it is elsewhere (--address)")

	resp, err := http.Get("http://" + c.Admin + "/sockopt/findings?during=60s")
	require.NoError(t, err)
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	code, answer := c.API(http.MethodGet, "/sockopt/findings?during=0s", "", "")
	require.Equal(t, http.StatusTooManyRequests, code)
	require.Contains(t, errorIn(t, answer), "somebody else looks already")
	resp.Body.Close() // the look ends with its request
	require.Eventually(t, func() bool {
		code, _ := c.API(http.MethodGet, "/sockopt/findings?during=0s", "", "")
		return code == http.StatusOK
	}, lab.Patience, 10*time.Millisecond)
}

// TestLookEndsWithCaddy: a look does not hold up a Caddy that exits, and its answer breaks off.
func TestLookEndsWithCaddy(t *testing.T) {
	c := lab.Spawn(t, lab.Wrappers("sockopt"), lab.EchoSite(lab.Address(t)))
	resp, err := http.Get("http://" + c.Admin + "/sockopt/findings?during=60s")
	require.NoError(t, err)
	defer resp.Body.Close()
	code, answer := c.API(http.MethodPost, "/stop", "", "")
	require.Equal(t, http.StatusOK, code, answer)
	body, err := io.ReadAll(resp.Body)
	require.Error(t, err)
	require.Empty(t, body)
	require.Eventually(t, func() bool { return strings.Contains(c.Logged(), `"shutdown complete","exit_code":0`) }, lab.Patience, time.Millisecond)
}

// TestFindingsWhileCaddyExits: a Caddy that still serves as it exits says what it serves.
func TestFindingsWhileCaddyExits(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	backend := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() })
	addr := lab.Address(t)
	global, _, sites, _ := trap(t)
	c := lab.Spawn(t, "grace_period 30s\n"+global, sites+"http://"+addr+" {\nreverse_proxy "+backend+"\n}\n")
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	<-asked
	var stopping sync.WaitGroup
	stopping.Go(func() { c.API(http.MethodPost, "/stop", "", "") })
	defer stopping.Wait()
	require.Eventually(t, func() bool { return strings.Contains(c.Logged(), "grace period initiated") }, lab.Patience, time.Millisecond)
	require.Len(t, findWhile(t, c, "0s", func() {}).Findings, 1)
	conn.Close()
}

// TestLookCosts: at most 20 ms of CPU time for a look at a thousand connections.
func TestLookCosts(t *testing.T) {
	addr := lab.Address(t)
	c := lab.Spawn(t, lab.Wrappers("sockopt"), lab.EchoSite(addr))
	const connections, looks = 1000, 20
	for range connections {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
	}
	require.Eventually(t, func() bool { return findWhile(t, c, "0s", func() {}).LookedAt.Connections == connections }, lab.Patience, 10*time.Millisecond)
	took := time.Hour
	for range 5 { // a busy machine makes it dearer, never cheaper
		before := lab.CPU(c.PID)
		for range looks / 2 {
			require.Empty(t, findWhile(t, c, "0s", func() {}).Findings)
		}
		took = min(took, (lab.CPU(c.PID)-before)/looks)
	}
	t.Logf("%v for a look", took)
	require.Less(t, took, 20*time.Millisecond)
}
