//go:build race

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Race says that the race detector watches this process.
const Race = true

// suppressRaces starts this program again with the suppressions of race.txt, which the race
// detector reads at its start. The processes that it starts have them too.
func suppressRaces() error {
	const name, option = "GORACE", "suppressions="
	options := os.Getenv(name)
	if strings.Contains(options, option) {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	options += fmt.Sprintf(" %s%q", option, filepath.Join(Root(), "internal/lab/race.txt"))
	if err := os.Setenv(name, options); err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ()) //nolint:gosec // this program
}
