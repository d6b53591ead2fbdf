package hugepage

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestPoolsAreReadAsTheKernelShowsThem(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for dir, text := range map[string]string{"hugepages-2048kB": "8\n", "hugepages-1048576kB": "0\n", "hugepages-xkB": "1", "other": "2", "hugepages-64kB": ""} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, dir, "nr_hugepages"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := pools(root), (map[int64]int64{2 << 20: 8, 1 << 30: 0}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := pools(filepath.Join(root, "none")); len(got) != 0 {
		t.Errorf("a kernel without: %v", got)
	}
}

func TestSizesHaveTwoNames(t *testing.T) {
	t.Parallel()
	for size, names := range map[int64][2]string{64 << 10: {"hugepages-64Ki", "64KB"}, 2 << 20: {"hugepages-2Mi", "2MB"}, 32 << 20: {"hugepages-32Mi", "32MB"}, 1 << 30: {"hugepages-1Gi", "1GB"}} {
		if string(Resource(size)) != names[0] || Name(size) != names[1] {
			t.Errorf("%d: %s, %s", size, Resource(size), Name(size))
		}
		if got, ok := Size(Resource(size)); !ok || got != size {
			t.Errorf("%s: %d, %v", Resource(size), got, ok)
		}
	}
	if _, ok := Size("memory"); ok {
		t.Error("memory is no pages")
	}
}
