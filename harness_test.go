package sockopt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// asCaddy in the environment makes the test binary a Caddy with this plugin, so
// that a test can watch one in a process of its own.
const asCaddy = "SOCKOPT_TEST_AS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

// patience bounds every wait for something that is certain to come.
const patience = 30 * time.Second

// running is a Caddy that serves until the test ends.
type running struct {
	t     testing.TB
	dir   string // its storage, log and configuration
	admin string // address of the admin API
	pid   int    // of its process
}

// config returns a Caddyfile with global options and sites, and the settings
// that keep a Caddy under test to itself. Its log goes to a file in dir.
func config(dir, admin, global, sites string) string {
	return fmt.Sprintf(`{
	admin %s
	storage file_system %s
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	log {
		output file %s
		level DEBUG
	}
	%s
}
%s
`, admin, dir, filepath.Join(dir, "log"), global, sites)
}

// run serves a Caddyfile, made of global options and sites, in this process.
func run(t testing.TB, global, sites string) *running {
	t.Helper()
	c := &running{t: t, dir: t.TempDir(), admin: address(t), pid: os.Getpid()}
	adapted, err := adapt(config(c.dir, c.admin, global, sites))
	require.NoError(t, err)
	require.NoError(t, caddy.Load(adapted, true))
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	return c
}

// spawn serves like run, in a process of its own, which is started as the last
// arguments of the command wrap where one is given.
func spawn(t testing.TB, global, sites string, wrap ...string) *running {
	t.Helper()
	c := &running{t: t, dir: t.TempDir(), admin: address(t)}
	file := filepath.Join(c.dir, "Caddyfile")
	require.NoError(t, os.WriteFile(file, []byte(config(c.dir, c.admin, global, sites)), 0o600))
	self, err := os.Executable()
	require.NoError(t, err)
	args := append(wrap, self, "run", "--adapter", "caddyfile", "--config", file)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), asCaddy+"=1", "HOME="+c.dir, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended, its output says
	}()
	c.pid = cmd.Process.Pid
	t.Cleanup(func() {
		c.stop(ended, cmd)
		if races(output.String()) {
			t.Error("the race detector has found something")
		}
		if t.Failed() {
			t.Logf("the output of %s:\n%s", args[0], output.String())
		}
	})
	c.await(ended)
	return c
}

// races reports whether the race detector has found something, but for one race of Caddy's
// own: TLS.Start of Caddy 2.11.9 writes to itself while its servers accept already.
func races(output string) bool {
	for report := range strings.SplitSeq(output, "==================") {
		if strings.Contains(report, "DATA RACE") && !strings.Contains(report, "caddytls.(*TLS).Start()") {
			return true
		}
	}
	return false
}

// await returns when Caddy serves: the admin API holds back the configuration
// that it is asked for until that has been loaded.
func (c *running) await(ended <-chan struct{}) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		select {
		case <-ended:
			c.t.Fatal("caddy ended before it served")
		default:
		}
		resp, err := http.Get("http://" + c.admin + "/config/")
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("caddy did not serve within %v: %v", patience, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stop ends the process through its admin API, so that a wrapping command sees
// it end by itself.
func (c *running) stop(ended <-chan struct{}, cmd *exec.Cmd) {
	resp, err := http.Post("http://"+c.admin+"/stop", "", nil)
	if err == nil {
		resp.Body.Close()
	}
	select {
	case <-ended:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// load posts a configuration to the admin API and returns the status and the
// answer.
func (c *running) load(contentType, body string) (status int, answer string) {
	c.t.Helper()
	return c.api(http.MethodPost, "/load", contentType, body)
}

// api sends a request to the admin API.
//
// A load replaces the admin API's server, too. The old one drops a connection that
// comes late: the kernel resets it, or net/http closes it before the request is
// served. Such a request is sent again.
func (c *running) api(method, path, contentType, body string) (status int, answer string) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		status, answer, err := c.ask(method, path, contentType, body)
		dropped := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
		if dropped && time.Now().Before(deadline) {
			continue
		}
		require.NoError(c.t, err)
		return status, answer
	}
}

// ask sends a request to the admin API over a connection of its own.
func (c *running) ask(method, path, contentType, body string) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+c.admin+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", contentType)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// log returns what Caddy has logged.
func (c *running) log() string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "log"))
	require.NoError(c.t, err)
	return string(text)
}

// adapt turns a Caddyfile into JSON.
func adapt(caddyfile string) ([]byte, error) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	adapted, _, err := adapter.Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return adapted, err
}

// address returns a loopback address that is free, and stays so until Caddy
// takes it or the test ends.
func address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", port(t))
}
