// Package hugepage reads which huge pages the machine has set aside, and gives their sizes the names that the kernel and
// Kubernetes have for them. Sizes are bytes; what a kernel without huge pages says is nothing.
package hugepage

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// root is where the kernel shows its pools.
const root = "/sys/kernel/mm/hugepages"

// Sizes are those of the kernel's pools, ordered.
func Sizes() (sizes []int64) {
	for size := range Pools() {
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	return sizes
}

// Pools gives how many pages there are of each size.
func Pools() map[int64]int64 { return pools(root) }

func pools(root string) map[int64]int64 {
	out := map[int64]int64{}
	entries, _ := os.ReadDir(root) // no folder, no pools
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), "hugepages-")
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(text, "kB"), 10, 64)
		if !ok || err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, e.Name(), "nr_hugepages"))
		if err != nil {
			continue
		}
		if pages, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil {
			out[kilobytes<<10] = pages
		}
	}
	return out
}

// Resource is what Kubernetes calls pages of a size, for instance hugepages-2Mi.
func Resource(size int64) corev1.ResourceName {
	return corev1.ResourceName(corev1.ResourceHugePagesPrefix + resource.NewQuantity(size, resource.BinarySI).String())
}

// Size is that of the pages that a resource counts; false: it counts something else.
func Size(name corev1.ResourceName) (size int64, ok bool) {
	text, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
	if !ok {
		return 0, false
	}
	q, err := resource.ParseQuantity(text)
	return q.Value(), err == nil
}

// Name is what the kernel's control groups call a size, for instance 2MB.
func Name(size int64) string {
	units := []string{"B", "KB", "MB", "GB", "TB", "PB"}
	at := 0
	for ; size >= 1024 && size%1024 == 0 && at < len(units)-1; at++ {
		size /= 1024
	}
	return fmt.Sprint(size, units[at])
}
