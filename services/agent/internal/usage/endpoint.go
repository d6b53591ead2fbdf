package usage

import (
	"encoding/json"
	"fmt"
)

// Endpoint answers a path of the node's own that tells what it uses.
func (s *Sampler) Endpoint(path, dataDir string, m Machine) ([]byte, error) {
	if path == "metrics/cadvisor" {
		return s.Cadvisor(m), nil
	}
	now, before, _ := s.Readings()
	switch path {
	case "stats/summary":
		return json.MarshalIndent(now.Summary(s.node, dataDir, before), "", " ")
	case "metrics/resource":
		return now.Resource(), nil
	}
	return nil, fmt.Errorf("this node does not serve /%s", path)
}
