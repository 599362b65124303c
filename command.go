package sockopt

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// command is "caddy sockopt".
var command = caddycmd.Command{
	Name:  "sockopt",
	Short: "Socket options: what this kernel supports",
	CobraFunc: func(cmd *cobra.Command) {
		cmd.AddCommand(optionsCommand())
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
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "\t")
				return encoder.Encode(thisSystem())
			}
			return writeOptions(cmd.OutOrStdout(), thisSystem())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// writeOptions prints the options as a table for people.
func writeOptions(w io.Writer, s system) error {
	fmt.Fprintf(w, "%s %s\n\n", s.OS, s.Kernel)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "OPTION\tKERNEL\tPHASES\tHERE\tDEFAULT\tBOUNDS")
	for _, o := range s.Options {
		here := "yes"
		if !o.Supported {
			here = "no"
			if o.Since != "" {
				here = "needs Linux " + o.Since
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n",
			o.Name, o.Kernel, strings.Join(o.Phases, " "), here, o.Default, o.bounds())
	}
	return t.Flush()
}

// bounds is what limits the values of an option, in a line.
func (s support) bounds() string {
	var all []string
	for name, value := range s.Bounds {
		all = append(all, strings.TrimSpace(name+" "+value))
	}
	slices.Sort(all)
	if s.Takes != "" {
		all = append(all, s.Takes)
	}
	if s.Capability != "" {
		all = append(all, s.Capability)
	}
	return strings.Join(all, "; ")
}
