package job

import (
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// noIndex is the index of a pod that has none, or none that makes sense.
const noIndex = -1

// indexed is true of a job whose pods each have a place among its completions.
func indexed(job *batchv1.Job) bool {
	return job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion
}

// indexOf is the completion index of a pod.
func indexOf(pod *corev1.Pod) int {
	index, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || index < 0 {
		return noIndex
	}
	return index
}

// validIndex tells whether a pod of an indexed job has an index that the job has, too.
func validIndex(job *batchv1.Job, pod *corev1.Pod) bool {
	index := indexOf(pod)
	return index != noIndex && index < int(*job.Spec.Completions)
}

// span is a run of indexes, both ends included.
type span struct{ first, last int }

// indexes is a set of completion indexes: spans in order, with a gap between any two.
// Its text is that of the API, as in "1,3-5,7".
type indexes []span

// parseIndexes reads the API's text and leaves out what is not below completions or
// is no number.
func parseIndexes(text string, completions int) indexes {
	var out indexes
	if text == "" {
		return nil
	}
	for _, part := range strings.Split(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		if first >= completions {
			break
		}
		last := first
		if ranged {
			if last, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		out = out.append(span{first, min(last, completions-1)})
	}
	return out
}

// indexesOf is the set of the given indexes, in any order.
func indexesOf(each []int) indexes {
	slices.Sort(each)
	var out indexes
	for _, index := range each {
		out = out.append(span{index, index})
	}
	return out
}

// append adds a span that begins nowhere before the last one.
func (x indexes) append(s span) indexes {
	if n := len(x); n > 0 && s.first <= x[n-1].last+1 {
		x[n-1].last = max(x[n-1].last, s.last)
		return x
	}
	return append(x, s)
}

// union is a new set with the indexes of both.
func (x indexes) union(y indexes) indexes {
	all := slices.Concat(x, y)
	slices.SortFunc(all, func(a, b span) int { return a.first - b.first })
	var out indexes
	for _, s := range all {
		out = out.append(s)
	}
	return out
}

// count is the number of indexes.
func (x indexes) count() int {
	n := 0
	for _, s := range x {
		n += s.last - s.first + 1
	}
	return n
}

// common is the number of indexes that are in both.
func (x indexes) common(y indexes) int {
	n := 0
	for i, j := 0, 0; i < len(x) && j < len(y); {
		n += max(0, min(x[i].last, y[j].last)-max(x[i].first, y[j].first)+1)
		if x[i].last < y[j].last {
			i++
		} else {
			j++
		}
	}
	return n
}

func (x indexes) has(index int) bool {
	_, found := slices.BinarySearchFunc(x, index, func(s span, index int) int {
		switch {
		case s.last < index:
			return -1
		case s.first > index:
			return 1
		}
		return 0
	})
	return found
}

// gaps are the first at most count indexes below completions that are not in the set.
func (x indexes) gaps(count, completions int) []int {
	var out []int
	next := 0
	for _, s := range append(x[:len(x):len(x)], span{completions, completions}) {
		for ; next < min(s.first, completions) && len(out) < count; next++ {
			out = append(out, next)
		}
		next = max(next, s.last+1)
	}
	return out
}

func (x indexes) String() string {
	var b strings.Builder
	for _, s := range x {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(s.first))
		switch {
		case s.last > s.first+1:
			b.WriteByte('-')
		case s.last == s.first+1:
			b.WriteByte(',')
		default:
			continue
		}
		b.WriteString(strconv.Itoa(s.last))
	}
	return b.String()
}
