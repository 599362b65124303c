package lab

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// AsCaddy in the environment makes this program a Caddy.
const AsCaddy = "SOCKOPT_AS_CADDY"

// child is the value of AsCaddy for a Caddy that ends with its parent. The kernel ends the
// parent with the tests, and that may be strace, which leaves what it traced behind.
const child = "child"

// BeCaddy runs caddyMain and ends the process, where the process was started with
// CaddyCommand. caddyMain is Main of package caddycmd. A program calls this first.
func BeCaddy(caddyMain func()) {
	if IsCaddy() {
		if os.Getenv(AsCaddy) == child {
			dieWithParent()
		}
		caddyMain()
		os.Exit(0)
	}
}

// IsCaddy reports whether this process was started with CaddyCommand.
func IsCaddy() bool { return os.Getenv(AsCaddy) != "" }

// Main runs the tests of a package, or is a Caddy with the modules of the test binary. A
// package whose tests use Spawn calls it in TestMain. Ten parallel tests run at once
// where the command line does not say otherwise: most of their time they wait for a
// delayed acknowledgement, or for their turn in this process (inprocess.Parallel). The
// race detector makes them wait for a processor instead, so that there four run at once.
// Tests that count what a busy machine changes are not parallel.
func Main(m *testing.M, caddyMain func()) {
	BeCaddy(caddyMain)
	parallel := "10"
	if Race {
		parallel = "4"
	}
	if err := errors.Join(suppressRaces(), flag.Set("test.parallel", parallel)); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// CaddyCommand prepares this program as a Caddy with arguments. Its files are in dir. It
// is started as the last arguments of the command wrap, where there is one.
func CaddyCommand(ctx context.Context, dir string, wrap []string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	all := slices.Concat(wrap, []string{self}, args)
	cmd := Command(ctx, all[0], all[1:]...)
	cmd.Env = append(os.Environ(), AsCaddy+"="+child, "HOME="+dir, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
	return cmd, nil
}

// CaddyOutput runs Caddy with arguments to its end.
func CaddyOutput(t testing.TB, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	OtherProcess(t)
	cmd, err := CaddyCommand(t.Context(), t.TempDir(), nil, args...)
	require.NoError(t, err)
	var output, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &errors
	err = cmd.Run()
	return output.String(), errors.String(), err
}

// Spawn serves a Caddyfile, made of global options and sites, in a process of its own,
// which is started as the last arguments of the command wrap where there is one.
func Spawn(t testing.TB, global, sites string, wrap ...string) *Running {
	t.Helper()
	OtherProcess(t)
	r := NewRunning(t)
	file := filepath.Join(r.Dir, "Caddyfile")
	require.NoError(t, os.WriteFile(file, []byte(r.Caddyfile(global, sites)), 0o600))
	cmd, err := CaddyCommand(context.Background(), r.Dir, wrap, "run", "--adapter", "caddyfile", "--config", file)
	require.NoError(t, err)
	if len(wrap) == 0 && !slices.Contains(Measured, nameOf(t)) {
		cmd.Env = append(cmd.Env, LookEvery+"="+lookEvery)
	}
	p, err := Start(cmd)
	require.NoError(t, err)
	r.PID = p.Process.Pid
	t.Cleanup(func() {
		r.requireHealthy()
		r.stop(p)
		if strings.Contains(p.Printed(), "DATA RACE") {
			t.Error("the race detector has found something")
		}
		if t.Failed() {
			log, _ := r.Log() // there may be none
			t.Logf("the output of %s:\n%s\nthe end of its log:\n%s", p, p.Printed(), log[max(0, len(log)-4000):])
		}
	})
	// The admin API holds back the configuration that it is asked for until that has
	// been loaded.
	require.NoError(t, p.Await("it served", func() bool {
		_, _, err := r.askOnce(t.Context(), http.MethodGet, "/config/", "", "")
		return err == nil
	}))
	return r
}

// stop ends the process through its admin API, so that a wrapping command sees it end by
// itself.
func (r *Running) stop(p *Process) {
	_, _, _ = r.askOnce(context.Background(), http.MethodPost, "/stop", "", "") // it may have ended
	p.wait(Patience)
}
