package sockopt

import (
	"bytes"
	"cmp"
	"context"
	"reflect"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/findings"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
)

// configuration is what the modules of one configuration share.
type configuration struct {
	registry *prometheus.Registry // each configuration has its own
	servers  map[*caddyhttp.Server]*server

	namesUpstream bool // it may name placeholders of connections to backends

	http           *caddyhttp.App // nil before one of its modules is provisioned
	askedMultipath bool           // its listener wrappers were asked
	multipathOff   bool           // one says so

	started   bool
	used      bool           // something has options
	positions map[any]string // of its modules
	uncovered []uncovered    // once the configuration has started

	devicesFirst sync.Once // opens first
	first        sync.Map  // sockets on devices whose servers have not claimed them, by firstKey
	warned       sync.Map  // issuers that were warned of: their challenges come on a network of ours
}

// configurations are the running one and, while one replaces another, both. The newest
// is last.
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
		if c.registry == registry {
			return c
		}
	}
	c := &configuration{registry: registry, servers: make(map[*caddyhttp.Server]*server), uncovered: []uncovered{}}
	// Templates can name any placeholder.
	config := rawHTTP(ctx)
	c.namesUpstream = len(config) == 0 || bytes.Contains(config, []byte(upstreamTCPInfo)) || bytes.Contains(config, []byte(`"templates"`))
	configurations.all = append(configurations.all, c)
	applyMultipath()
	if err := cmp.Or(stats.Register(registry), stats.RegisterFound(registry, foundNow)); err != nil {
		ctx.Logger().Error("there are no metrics of sockopt", zap.Error(err))
	}
	go c.find(ctx, ctx.Logger(findingsLog{}), findings.Every)
	context.AfterFunc(ctx, func() {
		configurations.Lock()
		defer configurations.Unlock()
		configurations.all = slices.DeleteFunc(configurations.all, func(other *configuration) bool { return other == c })
		c.closeUnclaimed()
		applyMultipath()
	})
	return c
}

// newest returns the configuration that has started last, or nil; one without HTTP counts as
// started. The caller holds the lock of configurations.
func newest() *configuration {
	for _, c := range slices.Backward(configurations.all) {
		if c.started || c.http == nil && len(c.servers) > 0 {
			return c
		}
	}
	return nil
}

// isNewest reports whether c has started, and none that has is to replace it.
func (c *configuration) isNewest() bool {
	configurations.Lock()
	defer configurations.Unlock()
	return newest() == c
}

// onEvent calls f when the configuration of ctx has an event of Caddy's.
func onEvent(ctx caddy.Context, name string, f func()) error {
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	return events.(*caddyevents.App).On(name, eventHandler(f)) //nolint:forcetypeassert // that is its module
}

type eventHandler func()

// Handle implements caddyevents.Handler.
func (h eventHandler) Handle(context.Context, caddy.Event) error {
	h()
	return nil
}

// rawHTTP returns the JSON of the HTTP app. Caddy keeps it in an unexported field until
// the app is provisioned (Context.App in context.go). Where that changes it is empty.
func rawHTTP(ctx caddy.Context) []byte {
	config := reflect.ValueOf(ctx).FieldByName("cfg")
	if config.Kind() != reflect.Pointer || config.IsNil() {
		return nil
	}
	apps, ok := config.Type().Elem().FieldByName("AppsRaw")
	if !ok || apps.Type != reflect.TypeFor[caddy.ModuleMap]() {
		return nil
	}
	raw := config.Elem().FieldByIndex(apps.Index).MapIndex(reflect.ValueOf("http"))
	if !raw.IsValid() {
		return nil
	}
	return raw.Bytes()
}
