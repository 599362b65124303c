package integration_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestListenerInterface: clients that come in elsewhere find no listener.
func TestListenerInterface(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	n := newNetwork(t, nil)
	for name, multipath := range map[string]string{"MPTCP": "1", "TCP": "0"} {
		t.Run(name, func(t *testing.T) {
			port := lab.PortOf(lab.Address(t))
			lab.Spawn(t, lab.Wrappers("sockopt {\ninterface "+secondLink+"\n}"), "http://:"+port+" {\nrespond ok\n}", "env", "GODEBUG=multipathtcp="+multipath)
			conn, err := n.Dial(secondNear + ":" + port)
			require.NoError(t, err)
			conn.Close()
			_, err = n.Dial(n.Near + ":" + port)
			require.ErrorIs(t, err, unix.ECONNREFUSED)
			_, err = net.Dial("tcp", "127.0.0.1:"+port)
			require.ErrorIs(t, err, unix.ECONNREFUSED)
		})
	}
}
