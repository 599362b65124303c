//go:build !linux

package lab

import (
	"os"
	"os/exec"
)

func endWithParent(*exec.Cmd) {}

func dieWithParent() {}

func terminate(p *os.Process) error { return p.Kill() }

// End ends the process.
func (p *Process) End() {
	_ = p.Process.Kill() // it may have ended
	<-p.ended
}
