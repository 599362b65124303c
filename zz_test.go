package sockopt
import ("testing";"github.com/caddy-sockopt/caddy-sockopt/socket";"go.uber.org/zap";"fmt")
func BenchmarkZZ(b *testing.B){
	for _, p := range []struct{n string; l []string}{{"ten",tenOptions},{"ackonly",nil}} { b.Run(p.n, func(b *testing.B){
	w := new(ListenerWrapper)
	if err:=unmarshal(w, "sockopt"+block(p.l...)); err!=nil {b.Fatal(err)}
	w, _ = provisioned(b, w.Options)
	r := newReport(countersOf("zz"), zap.NewNop())
	conn,_ := tcpPair(b)
	for b.Loop(){ w.outfit(conn, r) } })}
	for _, l := range tenOptions { b.Run(l, func(b *testing.B){
	w := new(ListenerWrapper)
	if err:=unmarshal(w, "sockopt"+block(l, "quickack off")); err!=nil {b.Fatal(err)}
	w, _ = provisioned(b, w.Options)
	s := w.settings.of[accept][:1]
	if s[0].Option.Name=="TCP_QUICKACK" {b.Fatal(fmt.Sprint(s))}
	conn,_ := tcpPair(b)
	for b.Loop(){ socket.Set(conn, s, func(socket.Setting, error){}) } })}
}
