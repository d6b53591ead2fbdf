package eviction

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestAFileWithTwoNamesCountsOnce(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	before := DiskUse(t.Context(), one, two)
	const size = 1 << 20
	name := filepath.Join(one, "a")
	if err := os.WriteFile(name, bytes.Repeat([]byte{1}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(name, filepath.Join(two, "b")); err != nil {
		t.Fatal(err)
	}
	after := DiskUse(t.Context(), one, two, filepath.Join(one, "not there"))
	if inodes := after[Inodes] - before[Inodes]; inodes != 1 {
		t.Errorf("one file takes %d inodes", inodes)
	}
	if grown := after[corev1.ResourceEphemeralStorage] - before[corev1.ResourceEphemeralStorage]; grown >= 2*size {
		t.Errorf("a file of %d bytes takes %d", size, grown)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n := DiskUse(ctx, one)[Inodes]; n != 0 {
		t.Errorf("after the end of its context it has counted %d inodes", n)
	}
}
