// Reads manifests from standard input and checks the resources of Prometheus Operator among them against
// its own types: an unknown field, or a value of the wrong type, is an error. Prints how many there were.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	yamlreader "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func main() {
	checked, err := check(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(checked)
}

func check(manifests io.Reader) (int, error) {
	reader := yamlreader.NewYAMLReader(bufio.NewReader(manifests))
	checked := 0
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return checked, nil
		}
		if err != nil {
			return checked, err
		}
		var head struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if err := yaml.Unmarshal(document, &head); err != nil {
			return checked, err
		}
		if head.APIVersion != monitoring.SchemeGroupVersion.String() {
			continue
		}
		var resource any
		switch head.Kind {
		case monitoring.ServiceMonitorsKind:
			resource = &monitoring.ServiceMonitor{}
		case monitoring.PrometheusRuleKind:
			resource = &monitoring.PrometheusRule{}
		default:
			return checked, fmt.Errorf("%s: nothing here knows this kind", head.Kind)
		}
		if err := yaml.UnmarshalStrict(document, resource); err != nil {
			return checked, fmt.Errorf("%s: %w", head.Kind, err)
		}
		checked++
	}
}
