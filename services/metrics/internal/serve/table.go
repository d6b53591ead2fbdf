package serve

import (
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// tableOf shows one object or a list: name, CPU, memory, window; what a row comes with is
// the client's choice, its metadata at first.
func tableOf(o runtime.Object, include metav1.IncludeObjectPolicy) (*metav1.Table, error) {
	t := &metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}, Rows: []metav1.TableRow{}, ColumnDefinitions: []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"},
		{Name: "cpu", Type: "string", Format: "quantity"},
		{Name: "memory", Type: "string", Format: "quantity"},
		{Name: "Window", Type: "string", Format: "duration"},
	}}
	switch include {
	case "", metav1.IncludeMetadata, metav1.IncludeObject, metav1.IncludeNone:
	default:
		return nil, apierrors.NewBadRequest("unrecognized includeObject value")
	}
	switch o := o.(type) {
	case *metrics.NodeMetrics:
		t.Rows = append(t.Rows, nodeRow(o, include))
	case *metrics.NodeMetricsList:
		for i := range o.Items {
			t.Rows = append(t.Rows, nodeRow(&o.Items[i], include))
		}
	case *metrics.PodMetrics:
		t.Rows = append(t.Rows, podRow(o, include))
	case *metrics.PodMetricsList:
		for i := range o.Items {
			t.Rows = append(t.Rows, podRow(&o.Items[i], include))
		}
	}
	return t, nil
}

func nodeRow(m *metrics.NodeMetrics, include metav1.IncludeObjectPolicy) metav1.TableRow {
	return row(m, &m.ObjectMeta, m.Usage.Cpu(), m.Usage.Memory(), m.Window, include)
}

func podRow(m *metrics.PodMetrics, include metav1.IncludeObjectPolicy) metav1.TableRow {
	all := corev1.ResourceList{}
	for _, c := range m.Containers {
		for name, q := range c.Usage {
			sum := all[name]
			sum.Add(q)
			all[name] = sum
		}
	}
	return row(m, &m.ObjectMeta, all.Cpu(), all.Memory(), m.Window, include)
}

func row(o runtime.Object, of *metav1.ObjectMeta, cpu, memory *resource.Quantity, window metav1.Duration, include metav1.IncludeObjectPolicy) metav1.TableRow {
	r := metav1.TableRow{Cells: []any{of.Name, cpu.String(), memory.String(), window.Duration.String()}}
	switch include {
	case metav1.IncludeObject:
		r.Object.Object = o
	case metav1.IncludeNone:
	default:
		r.Object.Object = &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}, ObjectMeta: *of}
	}
	return r
}
