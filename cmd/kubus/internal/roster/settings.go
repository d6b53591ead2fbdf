package roster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.yaml.in/yaml/v3"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/services/kit"
)

// SettingsFile is where an instance keeps what its operator set for services: a YAML
// document with a key a service, under which stands what differs from what follows
// from the instance, under the keys of the service's config.example.yaml.
//
//	gateway:
//	  admission: {disable: [PodSecurity]}
//	controllers:
//	  controllers: ["*", "-horizontalpodautoscaler"]
func SettingsFile(i *instance.Instance) string { return i.Path("settings.yaml") }

// CheckSettings tells everything that is wrong with the settings in file, or, where
// file is empty, with those that the instance has.
func CheckSettings(i *instance.Instance, file string) error {
	data, err := kept(i)
	if file != "" {
		data, err = read(file)
	} else {
		file = SettingsFile(i)
	}
	if err != nil {
		return err
	}
	byService, err := parseSettings(file, data)
	if err != nil {
		return err
	}
	var problems []error
	for _, s := range All() {
		cfg := s.Defaults()
		s.Configure(cfg, i, i.Machine())
		problems = append(problems, s.set(cfg, file, byService))
	}
	return errors.Join(problems...)
}

// KeepSettings makes a copy of file the instance's settings, if nothing is wrong with it.
func KeepSettings(i *instance.Instance, file string) error {
	if err := CheckSettings(i, file); err != nil {
		return err
	}
	data, err := read(file)
	if err != nil {
		return err
	}
	return instance.WriteFile(SettingsFile(i), data, 0o600)
}

// Configs has the configuration of each service in an instance: what follows from the
// instance, and over it what the operator set.
func Configs(i *instance.Instance) (map[string]any, error) {
	return configsOf(All(), i, i.Machine())
}

// NodeConfigs has the configuration of each service of one of its nodes.
func NodeConfigs(i *instance.Instance, n instance.Node) (map[string]any, error) {
	return configsOf(OfNode(), i, n)
}

func configsOf(services []Service, i *instance.Instance, n instance.Node) (map[string]any, error) {
	data, err := kept(i)
	if err != nil {
		return nil, err
	}
	return Layered(services, i, n, Settings{SettingsFile(i), data})
}

// Settings are a document like SettingsFile, under the name by which errors call it.
type Settings struct {
	Name string
	Data []byte
}

// Layered has the configuration of services: what follows from the instance, and over it
// each of the settings in turn.
func Layered(services []Service, i *instance.Instance, n instance.Node, over ...Settings) (map[string]any, error) {
	configs := map[string]any{}
	for _, s := range services {
		cfg := s.Defaults()
		s.Configure(cfg, i, n)
		configs[s.Name] = cfg
	}
	for _, layer := range over {
		byService, err := parseSettings(layer.Name, layer.Data)
		if err != nil {
			return nil, err
		}
		for _, s := range services {
			if err := s.set(configs[s.Name], layer.Name, byService); err != nil {
				return nil, err
			}
		}
	}
	return configs, nil
}

// set puts what byService says over a configuration of the service.
func (s Service) set(cfg any, name string, byService map[string]yaml.Node) error {
	own, set := byService[s.Name]
	if !set {
		return nil
	}
	part, err := yaml.Marshal(&own) // a node's own Decode is not strict
	if err != nil {
		return fmt.Errorf("%s: %s: %w", name, s.Name, err)
	}
	return kit.Parse(name+": "+s.Name, part, cfg)
}

func parseSettings(name string, data []byte) (map[string]yaml.Node, error) {
	var byService map[string]yaml.Node
	if err := yaml.Unmarshal(data, &byService); err != nil {
		return nil, fmt.Errorf("%s: want a key a service, and under it the service's settings: %w", name, err)
	}
	for service := range byService {
		if _, err := Find(service); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return byService, nil
}

// kept reads the settings of an instance, which may have none.
func kept(i *instance.Instance) ([]byte, error) {
	data, err := read(SettingsFile(i))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func read(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	return data, nil
}
