package socket

import (
	"math"
	"os"
	"reflect"
	"strings"

	"golang.org/x/sys/unix"
)

// TCPInfo is what the kernel counts and measures about a connection, in the words
// of tcp_info in the kernel's include/uapi/linux/tcp.h.
type TCPInfo struct {
	unix.TCPInfo

	// length is how many bytes of it this kernel knows.
	length uint32

	connectTime uint32 // that of the Conn
}

// read fills i from a descriptor.
func (i *TCPInfo) read(fd int) (err error) {
	i.length, err = getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_INFO, &i.TCPInfo)
	return os.NewSyscallError("getsockopt", err)
}

// field is where a figure is in tcp_info.
type field struct {
	index     int
	size, end uintptr
}

// fields are those of tcp_info, by the names of their figures.
var fields = func() map[string]field {
	byName := make(map[string]field)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[unix.TCPInfo]()) {
		byName[strings.ToLower(f.Name)] = field{f.Index[0], f.Type.Size(), f.Offset + f.Type.Size()}
	}
	return byName
}()

// Value returns a figure, and whether the kernel has returned it: one older than the field does not, and some fields
// are without a value until something has been measured.
func (i *TCPInfo) Value(f Figure) (value int64, known bool) {
	if f == ConnectTime {
		return int64(i.connectTime), i.connectTime != 0
	}
	at, has := fields[f.Name]
	if !has || at.end > uintptr(i.length) {
		return 0, false
	}
	n := reflect.ValueOf(&i.TCPInfo).Elem().Field(at.index).Uint()
	// All ones is "not measured yet" in tcpi_min_rtt, and "no limit" in tcpi_pacing_rate.
	return int64(n), n != math.MaxUint64>>(64-8*at.size) //nolint:gosec // all but all ones fit
}
