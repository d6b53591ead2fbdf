package read

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"kubus.dev/proto"
)

// aging are the kinds whose rows depend on the time by their age alone, or say so
// otherwise (see brief): such a row is printed once for each version of its object.
var aging = map[proto.GroupResource]bool{
	{Resource: "configmaps"}:                                  true,
	{Resource: "endpoints"}:                                   true,
	{Resource: "namespaces"}:                                  true,
	{Resource: "nodes"}:                                       true,
	{Resource: "persistentvolumeclaims"}:                      true,
	{Resource: "persistentvolumes"}:                           true,
	{Resource: "pods"}:                                        true,
	{Resource: "secrets"}:                                     true,
	{Resource: "serviceaccounts"}:                             true,
	{Resource: "services"}:                                    true,
	{Group: "apps", Resource: "daemonsets"}:                   true,
	{Group: "apps", Resource: "deployments"}:                  true,
	{Group: "apps", Resource: "replicasets"}:                  true,
	{Group: "apps", Resource: "statefulsets"}:                 true,
	{Group: "discovery.k8s.io", Resource: "endpointslices"}:   true,
	{Group: "networking.k8s.io", Resource: "ingresses"}:       true,
	{Group: "networking.k8s.io", Resource: "networkpolicies"}: true,
}

// row is one row of a table up to its object, with a gap where the age belongs.
type row struct {
	before, after []byte
	created       time.Time // zero: there is no gap
}

// gap is what stands for the age while the row is encoded: no printer prints it.
const gap = "\x00age"

// newRow takes the only row of a table, printed of obj.
func newRow(made *metav1.Table, obj runtime.Object) (row, error) {
	r, printed := row{}, made.Rows[0]
	if m, err := meta.Accessor(obj); err == nil {
		for i, c := range made.ColumnDefinitions {
			if c.Name != "Age" || i >= len(printed.Cells) || m.GetCreationTimestamp().Time.IsZero() {
				continue
			}
			if _, is := printed.Cells[i].(string); is {
				printed.Cells[i], r.created = gap, m.GetCreationTimestamp().Time
			}
		}
	}
	printed.Object.Object, printed.Object.Raw = nil, []byte("null")
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(printed); err != nil {
		return row{}, err
	}
	text := bytes.TrimSuffix(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("null}"))
	quoted, err := json.Marshal(gap)
	if err != nil {
		return row{}, err
	}
	var found bool
	if r.before, r.after, found = bytes.Cut(text, quoted); !found {
		r.created = time.Time{}
	}
	return r, nil
}

// append appends the row as it is at a moment.
func (r *row) append(dst []byte, now time.Time) []byte {
	dst = append(dst, r.before...)
	if !r.created.IsZero() {
		dst = append(dst, '"')
		dst = append(dst, duration.HumanDuration(now.Sub(r.created))...)
		dst = append(dst, '"')
	}
	return append(dst, r.after...)
}

// brief says that the row is as it is for a moment only: a pod's row also tells how long
// ago it was restarted.
func (r *row) brief() bool {
	return strings.Contains(string(r.before), " ago)") || strings.Contains(string(r.after), " ago)")
}
