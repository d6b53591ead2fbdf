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
	value  int    // written
	expect int    // the value that an update replaces; -1: of a version that nobody else knows
	rev    uint64 // of what was written; 0: not known
	after  uint64 // the last known revision before that
}

// state is an object: the value of the write that made it as it is, 0 where there is none,
// and the newest of its revisions that are known. Versions come in the order of these.
type state struct {
	value int
	rev   uint64
}

type told struct {
	outcome Outcome
	value   int // read; 0: there is no such object
}

// object is what one object does. An operation with an unknown outcome may come at any
// time after it was asked for, or so late that nobody sees it.
var object = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(now, input, output any) (bool, any) {
		return step(now.(state), input.(asked), output.(told))
	},
	Equal:             func(a, b any) bool { return a == b },
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%v → %v", in, out) },
}

func step(now state, in asked, out told) (bool, state) {
	if in.verb == Get {
		return now.value == out.value, now
	}
	fits := map[Verb]bool{Create: now.value == 0, Update: now.value == in.expect, Patch: now.value != 0, Delete: now.value != 0}[in.verb]
	next := state{in.value, max(now.rev, in.rev)}
	switch {
	case out.outcome == OK, out.outcome == Unknown && in.rev != 0: // somebody saw it
		return fits && (in.rev == 0 || now.rev == in.after), next
	case out.outcome == Unknown && fits:
		return true, next
	case out.outcome == Unknown:
		return true, now
	}
	return !fits, now
}

// checkObjects finds the objects whose operations have no order in which all answers are
// right.
func checkObjects(ops []Op, all []change, limit time.Duration) (problems []string) {
	values := map[uint64]int{} // by revision
	revs := map[int][2]uint64{}
	last := map[string]uint64{}
	for _, c := range all {
		if c.value != 0 {
			values[c.rev] = c.value
			if _, twice := revs[c.value]; !twice {
				revs[c.value] = [2]uint64{c.rev, last[c.key]}
				last[c.key] = c.rev
			}
		}
	}
	byKey := map[string][]porcupine.Operation{}
	for _, op := range ops {
		for _, key := range keysOf(op, ops) {
			if one, counts := operation(op, key, values, revs); counts {
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
func operation(op Op, key string, values map[uint64]int, revs map[int][2]uint64) (porcupine.Operation, bool) {
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
		in.rev, in.after = revs[op.Value][0], revs[op.Value][1]
		if op.Verb == Delete {
			in.value, in.rev = 0, 0
		}
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
