package sockopt
import ("testing";"syscall";"unsafe")
func BenchmarkZZ(b *testing.B){
	conn,_ := tcpPair(b)
	raw,_ := conn.SyscallConn()
	for _, o := range []struct{n string; l,o,v int}{{"nodelay",6,1,1},{"notsent",6,25,1<<20},{"keepidle",6,4,15},{"thin",6,16,1},{"ut",6,18,300000},{"tos",0,1,40},{"ttl",0,2,64},{"ka",1,9,1}} {
	b.Run(o.n+"/Syscall", func(b *testing.B){ raw.Control(func(fd uintptr){ for b.Loop(){ syscall.SetsockoptInt(int(fd),o.l,o.o,o.v) } }) })
	b.Run(o.n+"/Raw", func(b *testing.B){ v:=int32(o.v); raw.Control(func(fd uintptr){ for b.Loop(){ syscall.RawSyscall6(syscall.SYS_SETSOCKOPT, fd, uintptr(o.l),uintptr(o.o),uintptr(unsafe.Pointer(&v)),4,0) } }) })
	}
	b.Run("getpid", func(b *testing.B){ for b.Loop(){ syscall.RawSyscall(syscall.SYS_GETPID,0,0,0) } })
}
