//go:build !race

package lab

// Race says that the race detector watches this process.
const Race = false

func suppressRaces() error { return nil }
