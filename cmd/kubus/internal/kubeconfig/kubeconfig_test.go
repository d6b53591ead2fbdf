package kubeconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func entry(name string) Entry {
	return Entry{Name: name, Server: "https://127.0.0.1:6443", CA: []byte("ca"), ClientCert: []byte("cert"), Key: []byte("key")}
}

func TestMergeIntoNoFileMakesAPrivateOneAndPointsToUs(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".kube", "config")
	current, err := Merge(path, entry("kubus"), -1, -1)
	if err != nil || !current {
		t.Fatalf("got %v, %v", current, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}

const others = `apiVersion: v1
kind: Config
current-context: work
clusters: [{name: work, cluster: {server: "https://work:6443"}}]
users: [{name: work, user: {token: secret}}]
contexts: [{name: work, context: {cluster: work, user: work}}]
preferences: {colors: true}
`

func TestMergeKeepsTheUsersOwnContextAndEverythingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(others), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		current, err := Merge(path, entry("kubus"), -1, -1)
		if err != nil || current {
			t.Fatalf("got %v, %v", current, err)
		}
	}
	data, _ := os.ReadFile(path)
	for _, want := range []string{"current-context: work", "https://work:6443", "token: secret", "colors: true", "https://127.0.0.1:6443"} {
		if strings.Count(string(data), want) != 1 {
			t.Errorf("want %q once in\n%s", want, data)
		}
	}
	if err := Remove(path, "kubus"); err != nil {
		t.Fatal(err)
	}
	data, _ = os.ReadFile(path)
	if strings.Contains(string(data), "kubus") || !strings.Contains(string(data), "token: secret") {
		t.Errorf("after removal:\n%s", data)
	}
}

func TestRemovingTheOnlyEntryRemovesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if _, err := Merge(path, entry("kubus"), -1, -1); err != nil {
		t.Fatal(err)
	}
	if err := Remove(path, "kubus"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestABrokenFileIsRefusedAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte("a: [b"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(path, entry("kubus"), -1, -1); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("got %v", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "a: [b" {
		t.Errorf("the file was changed to %q", data)
	}
}
