// Package kubeconfig writes the files by which kubectl finds a cluster. It keeps
// whatever else a file holds, and never points a user's current context elsewhere
// unless it pointed nowhere.
package kubeconfig

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// Entry is one cluster with its user and context, all of one name.
type Entry struct {
	Name                string
	Server              string
	CA, ClientCert, Key []byte // PEM
}

type file map[string]any

// Merge puts the entry into a file, made when missing, owned by uid and gid when
// these are not negative. current tells whether the file's current context is the
// entry now.
func Merge(path string, e Entry, uid, gid int) (current bool, err error) {
	f, err := load(path)
	if err != nil {
		return false, err
	}
	f.set("clusters", e.Name, "cluster", map[string]any{
		"server": e.Server, "certificate-authority-data": base64.StdEncoding.EncodeToString(e.CA),
	})
	f.set("users", e.Name, "user", map[string]any{
		"client-certificate-data": base64.StdEncoding.EncodeToString(e.ClientCert),
		"client-key-data":         base64.StdEncoding.EncodeToString(e.Key),
	})
	f.set("contexts", e.Name, "context", map[string]any{"cluster": e.Name, "user": e.Name})
	if name, _ := f["current-context"].(string); name == "" {
		f["current-context"] = e.Name
	}
	if err := f.save(path, uid, gid); err != nil {
		return false, err
	}
	return f["current-context"] == e.Name, nil
}

// Remove takes an entry out of a file; a file that then holds nothing is removed.
func Remove(path, name string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f, err := load(path)
	if err != nil {
		return err
	}
	left := 0
	for _, list := range []string{"clusters", "users", "contexts"} {
		f.set(list, name, "", nil)
		items, _ := f[list].([]any)
		left += len(items)
	}
	if left == 0 {
		return os.Remove(path)
	}
	if f["current-context"] == name {
		f["current-context"] = ""
	}
	return f.save(path, -1, -1)
}

// Server gives the server and authority of a context's cluster; empty for none.
func Server(path, name string) (server string, ca []byte, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	f, err := load(path)
	if err != nil {
		return "", nil, err
	}
	c, _ := f.get("clusters", name, "cluster").(map[string]any)
	server, _ = c["server"].(string)
	text, _ := c["certificate-authority-data"].(string)
	ca, _ = base64.StdEncoding.DecodeString(text)
	return server, ca, nil
}

func load(path string) (file, error) {
	f := map[string]any{} // not file: nested maps get the type of the outer one
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if err := yaml.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("the kubeconfig %s is no valid YAML, so nothing can be added to it; repair it or name another file with --kubeconfig: %w", path, err)
	}
	if f == nil {
		f = map[string]any{}
	}
	f["apiVersion"], f["kind"] = "v1", "Config"
	return f, nil
}

func (f file) items(list string) []any {
	items, _ := f[list].([]any)
	return items
}

func (f file) get(list, name, field string) any {
	for _, it := range f.items(list) {
		if m, ok := it.(map[string]any); ok && m["name"] == name {
			return m[field]
		}
	}
	return nil
}

// set replaces the item of a name; a nil value only removes it.
func (f file) set(list, name, field string, value any) {
	kept := []any{}
	for _, it := range f.items(list) {
		if m, ok := it.(map[string]any); !ok || m["name"] != name {
			kept = append(kept, it)
		}
	}
	if value != nil {
		kept = append(kept, map[string]any{"name": name, field: value})
	}
	f[list] = kept
}

func (f file) save(path string, uid, gid int) error {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(map[string]any(f)); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("writing the kubeconfig: %w", err)
		}
		if uid >= 0 {
			_ = os.Chown(dir, uid, gid)
		}
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // replace what the link names, not the link
	}
	if old, err := os.Stat(path); err == nil && uid < 0 {
		if owner, group, ok := ownerOf(old); ok {
			uid, gid = owner, group
		}
	}
	tmp := path + ".kubus-new"
	if err := os.WriteFile(tmp, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	if uid >= 0 && os.Geteuid() == 0 {
		if err := os.Chown(tmp, uid, gid); err != nil {
			return fmt.Errorf("writing the kubeconfig: %w", err)
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return nil
}
