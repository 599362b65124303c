package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Path is a namespace whose packets take time and get lost, for kernels without netem. Its
// two links are TUN devices, between which this process passes packets on. It knows no
// bandwidth: packets leave in the order in which they came, half a round trip later.
type Path struct {
	*Namespace

	delay atomic.Int64  // nanoseconds, each way
	loss  atomic.Uint64 // packets of a million
	lost  atomic.Int64
	near  *os.File
	far   *os.File
	ended sync.WaitGroup
}

// NewTestPath makes a path that goes away with the test, or is Missing.
func NewTestPath(t testing.TB) *Path {
	t.Helper()
	OtherProcess(t)
	Require(t, "ip")
	p, err := NewPath()
	if err != nil {
		Missing(t, err.Error())
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// NewPath makes a path without delay and loss. Only root may.
func NewPath() (*Path, error) {
	p := new(Path)
	n, err := newNamespace(func(n *Namespace, _ int) (err error) {
		if p.near, err = tun(n.link); err == nil {
			n.Do(func() { p.far, err = tun(farLink) })
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	p.Namespace = n
	p.ended.Go(func() { p.carry(p.near, p.far, 1) })
	p.ended.Go(func() { p.carry(p.far, p.near, 2) })
	return p, nil
}

// Set makes later packets take half of rtt each way, and a share of them get lost.
func (p *Path) Set(rtt time.Duration, loss float64) {
	p.delay.Store(int64(rtt / 2))
	p.loss.Store(uint64(loss * 1_000_000))
}

// Lost is how many packets got lost.
func (p *Path) Lost() int64 { return p.lost.Load() }

// Close removes the links and the namespace.
func (p *Path) Close() error {
	err := p.Namespace.Close()
	p.near.Close()
	p.far.Close()
	p.ended.Wait()
	return err
}

type packet struct {
	bytes []byte
	due   time.Time
}

// carry passes packets on until the devices are closed. The same packets of a run get
// lost in each run, by number.
func (p *Path) carry(from, to *os.File, seed uint64) {
	held := make(chan packet, 1<<14)
	p.ended.Go(func() {
		for packet := range held {
			time.Sleep(time.Until(packet.due))
			_, _ = to.Write(packet.bytes) // a link that is down takes none
		}
	})
	defer close(held)
	random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // no secret
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if random.Uint64N(1_000_000) < p.loss.Load() {
			p.lost.Add(1)
			continue
		}
		held <- packet{append([]byte(nil), buffer[:n]...), time.Now().Add(time.Duration(p.delay.Load()))}
	}
}

// tun makes a TUN device in the namespace of the calling thread. It is gone once the file
// is closed.
func tun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("no TUN device: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("no TUN device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
