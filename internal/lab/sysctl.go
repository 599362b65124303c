package lab

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Sysctl reads a setting of the kernel, such as net.core.somaxconn. It is empty where
// there is none, and out of sight in some network namespaces.
func Sysctl(name string) string {
	text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// SysctlNumber reads a setting of the kernel that is a number.
func SysctlNumber(t testing.TB, name string) int64 {
	t.Helper()
	text := Sysctl(name)
	if text == "" {
		Missing(t, name+" is out of sight in this network namespace")
	}
	value, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	return value
}
