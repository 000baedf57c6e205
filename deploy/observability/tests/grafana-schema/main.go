// Reads dashboards by Grafana's own schema (its kind `dashboard`, as the published SDK has it): a field that
// it does not have, a value of another type, or one out of its bounds is a mistake.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	failed := false
	for _, file := range os.Args[1:] {
		panels, err := check(file)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			failed = true
			continue
		}
		fmt.Printf("%s: %d panels\n", file, panels)
	}
	if failed || len(os.Args) < 2 {
		os.Exit(1)
	}
}

func check(file string) (int, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var read dashboard.Dashboard
	// Both return an empty list of mistakes as an error.
	for _, err := range []error{read.UnmarshalJSONStrict(raw), read.Validate()} {
		if err != nil && err.Error() != "" {
			return 0, err
		}
	}
	if _, err := json.Marshal(read); err != nil {
		return 0, err
	}
	return len(read.Panels), nil
}
