package sockopt

import (
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestRefusedOption has the kernel refuse what it does refuse: TCP_QUICKACK on an
// MPTCP listener.
func TestRefusedOption(t *testing.T) {
	const mptcp = 262 // IPPROTO_MPTCP
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, mptcp)
	if err != nil {
		lab.Missing(t, "this kernel has no MPTCP")
	}
	require.NoError(t, syscall.Close(fd))
	c, client := serve(t, "sockopt\n"+inprocess.Observer)
	change(t, "nodelay", func(r *row) { r.option, r.phases = socket.QuickAck, listen|accept })
	const refusal = "nodelay on: on this kernel listening sockets that speak MPTCP refuse TCP_QUICKACK; start Caddy with GODEBUG=multipathtcp=0"

	status, answer := c.Load("text/caddyfile", c.with("sockopt"+lab.Block("nodelay on", "recv_buffer 64KiB")+"\n"+inprocess.Observer))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer, "provision caddy.listeners.sockopt: "+refusal+"; leave the option out, or set on_unsupported warn")
	client.get(t)

	status, answer = c.Load("text/caddyfile", c.with("sockopt"+lab.Block("nodelay on", "recv_buffer 64KiB", "on_unsupported warn")+"\n"+inprocess.Observer))
	require.Equal(t, http.StatusOK, status, answer)
	require.Equal(t, []lab.Entry{{
		Message: "option left out: this system refuses it",
		Option:  "nodelay",
		Error:   refusal,
	}}, c.Warnings())
	c.reachable(t)
	require.Equal(t, fmt.Sprint(2*64<<10), recvBuffer(t, inprocess.ListeningSocket(t, c.addr)), "the other options are set")
}

// TestResolve: what keeps acknowledging is not set as an option, too.
func TestResolve(t *testing.T) {
	for _, test := range []struct {
		name           string
		lines          string
		ack            socket.AckMode
		listen, accept []string
	}{
		{"bare", "", socket.AckAuto, nil, nil},
		{"quickack auto", "quickack auto", socket.AckAuto, nil, nil},
		{"quickack on", "quickack on", socket.AckOn, nil, nil},
		{"quickack off", "quickack off", socket.AckOff, nil, []string{"TCP_QUICKACK 0"}},
		{
			"in the order of the table", "send_buffer 64KiB\nnodelay on\nrecv_buffer 4KiB", socket.AckAuto,
			[]string{"SO_RCVBUF 4096", "SO_SNDBUF 65536"},
			[]string{"TCP_NODELAY 1", "SO_RCVBUF 4096", "SO_SNDBUF 65536"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := new(ListenerWrapper)
			require.NoError(t, unmarshal(w, "sockopt {\n"+test.lines+"\n}"))
			s, err := w.resolve(listen|accept, zap.NewNop())
			require.NoError(t, err)
			require.Equal(t, test.ack, s.ack)
			require.Equal(t, test.listen, texts(s.of[listen]))
			require.Equal(t, test.accept, texts(s.of[accept]))
		})
	}
}

func texts(settings []socket.Setting) (all []string) {
	for _, s := range settings {
		all = append(all, fmt.Sprint(s.Option.Name, " ", s.Value.Number))
	}
	return all
}

// TestSecondWrapper: a later sockopt sets its options on top, but the first one
// goes on acknowledging, and the second one says that it does not.
func TestSecondWrapper(t *testing.T) {
	c, client := serve(t, "sockopt"+lab.Block("nodelay off", "quickack on", "recv_buffer 64KiB")+
		"\nsockopt"+lab.Block("recv_buffer 96KiB")+"\n"+inprocess.Observer)
	client.get(t)
	conn := connect(t, c)
	require.Equal(t, "0", lab.GetSockOpt(t, conn.accepted, syscall.IPPROTO_TCP, syscall.TCP_NODELAY))
	require.Equal(t, fmt.Sprint(2*96<<10), recvBuffer(t, conn.accepted))
	conn.finish(t)

	warnings := c.Warnings()
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0].Message, "quickack and metrics have no effect here")
	require.Equal(t, "auto", warnings[0].QuickAck)
}

// TestRefusedByMPTCPOnly: the mend is to listen without MPTCP, and not a later
// kernel.
func TestRefusedByMPTCPOnly(t *testing.T) {
	r := rowNamed(t, "fastopen")
	u := use{text: "16", setting: socket.Setting{Option: r.option}}
	require.EqualError(t, r.refusal(u, errors.Join(errOnlyMPTCP, syscall.ENOPROTOOPT)),
		"fastopen 16: on this kernel listening sockets that speak MPTCP refuse TCP_FASTOPEN; start Caddy with GODEBUG=multipathtcp=0")
}

func rawNumbers(level, option, value Number) RawOption { return RawOption{&level, &option, &value} }
