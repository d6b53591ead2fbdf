package kit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.yaml.in/yaml/v3"
)

// Duration is a time.Duration that configuration writes as text, such as 10s.
type Duration time.Duration

// Std is the standard library's form.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %q is no duration, such as 10s", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

// Bus says how to reach the bus. Every service's configuration has one.
type Bus struct {
	URL          string `yaml:"url"`          // nats://host:port
	NkeySeedFile string `yaml:"nkeySeedFile"` // the role's key; empty for a server without authentication
	CAFile       string `yaml:"caFile"`       // set: TLS
}

// DefaultBus is a server on this machine.
func DefaultBus() Bus { return Bus{URL: "nats://127.0.0.1:4222"} }

// Common is the part of a configuration that every service shares.
type Common struct {
	Bus    Bus    `yaml:"bus"`
	Listen string `yaml:"listen"` // address of /livez, /readyz and /metrics; empty for none
	Log    Log    `yaml:"log"`
}

// Log says how much is logged and in which form.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // text or json
}

// DefaultCommon has health on no address and readable logs.
func DefaultCommon() Common {
	return Common{Bus: DefaultBus(), Log: Log{Level: "info", Format: "text"}}
}

// Load reads a YAML file over the defaults in cfg. Unknown keys are errors; all
// problems of the file are reported at once. An empty path changes nothing.
func Load(path string, cfg any) error {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	return Parse(path, data, cfg)
}

// Parse is Load for data that came from the named place.
func Parse(name string, data []byte, cfg any) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(cfg); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s: %w", name, err)
	}
	return nil
}
