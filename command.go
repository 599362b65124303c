package sockopt

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// command is "caddy sockopt".
var command = caddycmd.Command{
	Name:  "sockopt",
	Short: "Socket options: what this kernel supports, whether a server stalls, and what is wrong",
	Long: `Shows which socket options this system supports, probes servers for stalls, and
finds what is wrong at a running Caddy.
A running Caddy shows the options in effect at GET /sockopt/ of its admin API.`,
	CobraFunc: func(cmd *cobra.Command) {
		cmd.Use = "sockopt"
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		cmd.AddCommand(optionsCommand(), probeCommand(), connectionsCommand(), doctorCommand())
	},
}

func optionsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "options [--json]",
		Short: "List the options with this kernel's support, bounds and defaults",
		Long: `Lists every option by its configuration name, with the kernel's name, when it
can be set, whether this kernel has it, its default here, and what bounds it.
It asks the kernel itself and needs no running Caddy.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), options.ThisSystem())
			}
			writeOptions(cmd.OutOrStdout(), options.ThisSystem())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// writeOptions prints the options as a table for people.
func writeOptions(w io.Writer, s options.System) {
	fmt.Fprintln(w, strings.TrimSpace(s.OS+" "+s.Kernel))
	if s.OS != "linux" {
		fmt.Fprintf(w, "This system supports only %s. The other options need Linux.\n", s.Supported())
	}
	fmt.Fprintln(w)
	table := append(make([][]string, 0, 1+len(s.Options)), []string{"OPTION", "KERNEL", "PHASES", "HERE", "DEFAULT", "BOUNDS"})
	for _, o := range s.Options {
		here := "yes"
		if !o.Supported {
			here = "needs " + o.Needs
		} else if o.NeedsMPTCP != "" {
			here = "MPTCP: " + o.NeedsMPTCP
		}
		phases := strings.Join(o.Phases, " ")
		if o.BeforeSYN {
			phases = strings.Replace(phases, "dial", "dial(SYN)", 1)
		}
		table = append(table, []string{o.Name, o.Kernel, phases, here, o.Default, bounds(o)})
	}
	printTable(w, table, 0)
}

// bounds says what limits the values of an option.
func bounds(s options.Support) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.Sysctl)) {
		all = append(all, strings.TrimSpace(name+" "+s.Sysctl[name]))
	}
	if s.Takes != "" {
		all = append(all, s.Takes)
	}
	if c := s.Capability; c != nil {
		held := "not held"
		if c.Held {
			held = "held"
		}
		all = append(all, fmt.Sprintf("%s (%s)", c.Name, held))
	}
	return strings.Join(all, "; ")
}
