package launch

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/runtime"
)

// Credentials gives the log-ins that pull secrets hold for an image, the most
// specific registry first. Secrets of other types are passed over; broken ones
// are an error.
func Credentials(image string, secrets []*corev1.Secret) ([]runtime.Credential, error) {
	type match struct {
		key string
		c   runtime.Credential
	}
	var found []match
	target := Repository(image)
	for _, s := range secrets {
		entries, err := dockerConfig(s)
		if err != nil {
			return nil, fmt.Errorf("pull secret %s/%s: %w", s.Namespace, s.Name, err)
		}
		for registry, e := range entries {
			if key := registryKey(registry); key == target || strings.HasPrefix(target, key+"/") || wildcard(key, target) {
				found = append(found, match{key, e.credential()})
			}
		}
	}
	sort.SliceStable(found, func(i, j int) bool { return len(found[i].key) > len(found[j].key) })
	out := make([]runtime.Credential, len(found))
	for i := range found {
		out[i] = found[i].c
	}
	return out, nil
}

type dockerEntry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func (e dockerEntry) credential() runtime.Credential {
	c := runtime.Credential{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(e.Auth)); err == nil && len(raw) > 0 {
		if user, password, ok := strings.Cut(string(raw), ":"); ok {
			c.Username, c.Password = user, strings.TrimRight(password, "\x00")
		}
	}
	return c
}

func dockerConfig(s *corev1.Secret) (map[string]dockerEntry, error) {
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		var cfg struct {
			Auths map[string]dockerEntry `json:"auths"`
		}
		if err := json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &cfg); err != nil {
			return nil, fmt.Errorf("reading %s: the JSON is not valid", corev1.DockerConfigJsonKey)
		}
		return cfg.Auths, nil
	case corev1.SecretTypeDockercfg:
		var auths map[string]dockerEntry
		if err := json.Unmarshal(s.Data[corev1.DockerConfigKey], &auths); err != nil {
			return nil, fmt.Errorf("reading %s: the JSON is not valid", corev1.DockerConfigKey)
		}
		return auths, nil
	}
	return nil, nil
}

// registryKey strips the scheme and API version of a registry's name in a docker config.
func registryKey(registry string) string {
	key := strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://")
	key = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(key, "/"), "/v1"), "/v2")
	if key == "index.docker.io" || key == "registry-1.docker.io" {
		key = "docker.io"
	}
	return key
}

// wildcard matches *.example.com, label by label.
func wildcard(key, target string) bool {
	if !strings.Contains(key, "*") {
		return false
	}
	keyHost, keyPath, _ := strings.Cut(key, "/")
	host, path, _ := strings.Cut(target, "/")
	a, b := strings.Split(keyHost, "."), strings.Split(host, ".")
	if len(a) != len(b) || keyPath != "" && path != keyPath && !strings.HasPrefix(path, keyPath+"/") {
		return false
	}
	for i := range a {
		if a[i] != "*" && a[i] != b[i] {
			return false
		}
	}
	return true
}

// Repository is an image reference without tag and digest, normalised as Docker
// does: busybox is docker.io/library/busybox.
func Repository(image string) string {
	ref, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
	host, rest, ok := strings.Cut(ref, "/")
	if !ok {
		return "docker.io/library/" + ref
	}
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "docker.io/" + ref
	}
	if host == "index.docker.io" {
		host = "docker.io"
	}
	if host == "docker.io" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	return host + "/" + rest
}
