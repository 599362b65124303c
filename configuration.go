package sockopt

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/findings"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
)

// configuration is what the modules of one configuration share.
type configuration struct {
	ctx     caddy.Context // which ends with it; its registry of metrics is its own
	servers map[*caddyhttp.Server]*server

	namesUpstream bool                                  // it may name placeholders of connections to backends
	raw           map[string]map[string]json.RawMessage // what its servers have beside ofSites

	http         *caddyhttp.App // nil before one of its modules is provisioned
	multipath    func() (on, off string)
	multipathOff bool // a listener wrapper says so

	used      atomic.Bool    // something has options
	positions map[any]string // of its modules
	uncovered []uncovered

	starts sync.Once
	first  sync.Map // sockets on devices whose servers have not claimed them, by transport and address
}

// configurations are the running one and, while one replaces another, both. The newest is last.
var configurations struct {
	sync.Mutex
	all []*configuration
}

// configurationOf returns the record of the configuration whose module is provisioned. It
// is kept until ctx ends: the configuration fails to load, or another has replaced it.
func configurationOf(ctx caddy.Context) *configuration {
	configurations.Lock()
	defer configurations.Unlock()
	registry := ctx.GetMetricsRegistry()
	for _, c := range configurations.all {
		if c.ctx.GetMetricsRegistry() == registry {
			return c
		}
	}
	c := &configuration{ctx: ctx, servers: make(map[*caddyhttp.Server]*server), uncovered: []uncovered{}}
	config := rawHTTP(ctx)
	_ = json.Unmarshal(config, &struct{ Servers any }{&c.raw}) // its errors are Caddy's to report
	for _, server := range c.raw {
		maps.DeleteFunc(server, func(key string, _ json.RawMessage) bool { return slices.Contains(ofSites, key) })
	}
	c.multipath = sync.OnceValues(c.saysMultipath)
	// Templates can name any placeholder.
	c.namesUpstream = len(config) == 0 || bytes.Contains(config, []byte(upstreamTCPInfo)) || bytes.Contains(config, []byte(`"templates"`))
	configurations.all = append(configurations.all, c)
	applyMultipath()
	if err := cmp.Or(stats.Register(registry), stats.RegisterFound(registry, foundNow)); err != nil {
		ctx.Logger().Error("there are no metrics of sockopt", zap.Error(err))
	}
	go c.find(ctx, ctx.Logger(logger("sockopt.findings")), findings.Every)
	context.AfterFunc(ctx, c.end)
	return c
}

func (c *configuration) end() {
	configurations.Lock()
	defer configurations.Unlock()
	configurations.all = slices.DeleteFunc(configurations.all, func(other *configuration) bool { return other == c })
	for _, s := range c.servers {
		for _, e := range s.entries {
			e.observer.Done()
		}
		s.entries = nil
	}
	for _, unclaimed := range c.first.Range { // the load has failed
		_ = unclaimed.(io.Closer).Close() //nolint:forcetypeassert // it is a socket
	}
	applyMultipath()
}

// isActive reports whether c has loaded, and none that has replaces it. Caddy forgets the active one as it exits,
// while that still serves.
func (c *configuration) isActive() bool {
	active := caddy.ActiveContext()
	return c.ctx.GetMetricsRegistry() == active.GetMetricsRegistry() || caddy.Exiting() && c.ctx.Err() == nil
}

// start is called, once, before Caddy opens the first socket of the configuration. All modules are provisioned then.
func (c *configuration) start(ctx caddy.Context) {
	app, _ := ctx.AppIfConfigured("http") // its errors are Caddy's to report
	if http, ok := app.(*caddyhttp.App); ok && ctx.Err() == nil {
		c.starts.Do(func() {
			c.http = http
			c.openDevices()
			c.cover(ctx.Logger(logger("sockopt.coverage")))
			warnOfChallenges(ctx)
		})
	}
}

// rawHTTP returns the JSON of the HTTP app. Caddy keeps it behind an unexported field until
// the app is provisioned (Context.App in context.go). Where that changes it is empty.
func rawHTTP(ctx caddy.Context) []byte {
	config := reflect.ValueOf(ctx).FieldByName("cfg")
	if !config.IsValid() || config.Type() != reflect.TypeFor[*caddy.Config]() || config.IsNil() {
		return nil
	}
	return (*caddy.Config)(config.UnsafePointer()).AppsRaw["http"]
}
