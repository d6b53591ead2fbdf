package faults

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// asked and told are an operation as the model sees it.
type asked struct {
	verb   Verb
	value  int // written
	expect int // the value that an update replaces; -1: of a version that nobody else knows
}

type told struct {
	outcome Outcome
	value   int // read; 0: there is no such object
}

// object is what one object does: its state is the value of the write that made it as it
// is, 0 where there is none. An operation with an unknown outcome may come at any time
// after it was asked for, or so late that nobody sees it.
var object = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		return step(state.(int), input.(asked), output.(told))
	},
	Equal:             func(a, b any) bool { return a == b },
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%v → %v", in, out) },
}

func step(now int, in asked, out told) (bool, int) {
	switch in.verb {
	case Get:
		return now == out.value, now
	case Create:
		switch out.outcome {
		case OK:
			return now == 0, in.value
		case Exists:
			return now != 0, now
		}
		return true, or(now == 0, in.value, now)
	case Update:
		switch out.outcome {
		case OK:
			return now == in.expect, in.value
		case Conflict, NotFound:
			return now != in.expect, now
		}
		return true, or(now == in.expect, in.value, now)
	case Patch:
		switch out.outcome {
		case OK:
			return now != 0, in.value
		case NotFound:
			return now == 0, now
		}
		return true, or(now != 0, in.value, now)
	case Delete:
		switch out.outcome {
		case OK:
			return now != 0, 0
		case NotFound:
			return now == 0, now
		}
		return true, 0
	}
	return false, now
}

func or(yes bool, a, b int) int {
	if yes {
		return a
	}
	return b
}

// checkObjects finds the objects whose operations have no order in which all answers are
// right.
func checkObjects(ops []Op, limit time.Duration) (problems []string) {
	values := map[uint64]int{} // by revision
	for _, op := range ops {
		if op.Outcome == OK && op.Verb != List && op.Rev != 0 {
			values[op.Rev] = op.Value
		}
		for _, v := range op.Items {
			values[v.Rev] = v.Value
		}
	}
	byKey := map[string][]porcupine.Operation{}
	for _, op := range ops {
		for _, key := range keysOf(op, ops) {
			if one, counts := operation(op, key, values); counts {
				byKey[key] = append(byKey[key], one)
			}
		}
	}
	for _, key := range sorted(byKey) {
		switch porcupine.CheckOperationsTimeout(object, byKey[key], limit) {
		case porcupine.Illegal:
			problems = append(problems, fmt.Sprintf("%s: its %d operations have no order in which all answers are right", key, len(byKey[key])))
		case porcupine.Unknown:
			problems = append(problems, fmt.Sprintf("%s: no verdict on its %d operations within %v", key, len(byKey[key]), limit))
		}
	}
	return problems
}

// keysOf: a list reads every object.
func keysOf(op Op, all []Op) []string {
	if op.Verb != List {
		return []string{op.Key}
	}
	seen := map[string]bool{}
	for _, other := range all {
		if other.Verb != List {
			seen[other.Key] = true
		}
	}
	return sorted(seen)
}

// operation gives what an operation says of one object, if anything.
func operation(op Op, key string, values map[uint64]int) (porcupine.Operation, bool) {
	in, out := asked{verb: op.Verb, value: op.Value}, told{outcome: op.Outcome, value: op.Value}
	returned := int64(op.Return)
	switch {
	case op.Verb.writes():
		if op.Outcome == Refused || op.Outcome == Conflict && op.Verb != Update {
			return porcupine.Operation{}, false
		}
		if in.expect = -1; op.Verb == Update {
			if v, known := values[op.Expect]; known {
				in.expect = v
			}
		}
		out.value = 0
		if op.Outcome == Unknown {
			returned = math.MaxInt64
		}
	case op.Outcome != OK && op.Outcome != NotFound:
		return porcupine.Operation{}, false
	case op.Verb == List:
		in.verb, out.value = Get, op.Items[key].Value
	}
	if !op.Verb.writes() {
		in.value = 0
	}
	return porcupine.Operation{ClientId: op.Client, Input: in, Call: int64(op.Call), Output: out, Return: returned}, true
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
