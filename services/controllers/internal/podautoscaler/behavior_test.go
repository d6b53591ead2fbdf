package podautoscaler

import (
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// ago is a recommendation or a change of so many replicas, so many seconds before now.
type ago struct {
	seconds  int
	replicas int32
}

func past(recommended, up, down []ago) *history {
	h := &history{}
	at := func(a ago) time.Time { return now.Add(-time.Duration(a.seconds) * time.Second) }
	for _, a := range recommended {
		h.recommended = append(h.recommended, recommendation{at(a), a.replicas})
	}
	for _, a := range up {
		h.up = append(h.up, change{at(a), a.replicas})
	}
	for _, a := range down {
		h.down = append(h.down, change{at(a), a.replicas})
	}
	return h
}

func TestBoundsWithoutABehavior(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name            string
		recommended     []ago
		current, wanted int32
		want            int32
		able, limits    string
	}{
		{"what is wanted", nil, 3, 5, 5, "ReadyForNewScale", "DesiredWithinRange"},
		{"it at most doubles at a time", nil, 3, 9, 6, "ReadyForNewScale", "ScaleUpLimit"},
		{"but from one it may grow to four", nil, 1, 9, 4, "ReadyForNewScale", "ScaleUpLimit"},
		{"never beyond the most", nil, 30, 41, 40, "ReadyForNewScale", "TooManyReplicas"},
		{"never below the least", nil, 3, 1, 2, "ReadyForNewScale", "TooFewReplicas"},
		{"it shrinks to the highest of the last five minutes", []ago{{301, 9}, {299, 7}, {10, 5}}, 8, 3, 7, "ScaleDownStabilized", "DesiredWithinRange"},
		{"and at once when there was none", []ago{{301, 9}}, 8, 3, 3, "ReadyForNewScale", "DesiredWithinRange"},
		{"growing waits for nothing", []ago{{10, 2}}, 4, 8, 8, "ReadyForNewScale", "DesiredWithinRange"},
	} {
		h := past(tc.recommended, nil, nil)
		b := byDefault(h, tc.current, tc.wanted, limits{2, 40}, 5*time.Minute, now)
		if b.replicas != tc.want || b.able.word != tc.able || b.limits.word != tc.limits || b.limited != (tc.limits != "DesiredWithinRange") {
			t.Errorf("%s: got %+v, want %d %s %s", tc.name, b, tc.want, tc.able, tc.limits)
		}
		if last := h.recommended[len(h.recommended)-1]; last.replicas != tc.wanted || !last.at.Equal(now) {
			t.Errorf("%s: what was wanted is not remembered: %+v", tc.name, h.recommended)
		}
	}
}

// rules makes rules of policies, "max" when select is empty.
func rules(window int32, selection autoscalingv2.ScalingPolicySelect, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	r := &autoscalingv2.HPAScalingRules{Policies: policies, StabilizationWindowSeconds: &window}
	if selection != "" {
		r.SelectPolicy = &selection
	}
	return r
}

func pods(n, period int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: n, PeriodSeconds: period}
}

func percent(n, period int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: n, PeriodSeconds: period}
}

func TestBoundsOfABehavior(t *testing.T) {
	t.Parallel()
	free := rules(0, "", percent(1000, 15))
	for _, tc := range []struct {
		name                  string
		recommended, up, down []ago
		grow, shrink          *autoscalingv2.HPAScalingRules
		current, wanted       int32
		want                  int32
		able, limits          string
	}{
		{name: "so many pods a period", grow: rules(0, "", pods(4, 60)), current: 10, wanted: 30, want: 14, able: "ReadyForNewScale", limits: "ScaleUpLimit"},
		{name: "what grew within the period counts", grow: rules(0, "", pods(4, 60)), up: []ago{{59, 3}, {61, 100}}, current: 10, wanted: 30, want: 11, able: "ReadyForNewScale", limits: "ScaleUpLimit"},
		{name: "what shrank within it may grow back", grow: rules(0, "", pods(4, 60)), down: []ago{{30, 5}}, current: 10, wanted: 30, want: 19, able: "ReadyForNewScale", limits: "ScaleUpLimit"},
		{name: "when all was used up it stays", grow: rules(0, "", pods(4, 60)), up: []ago{{10, 9}}, current: 10, wanted: 30, want: 10, able: "ReadyForNewScale", limits: "ScaleUpLimit"},
		{name: "so many percent a period, rounded up", grow: rules(0, "", percent(15, 60)), current: 10, wanted: 30, want: 12, able: "ReadyForNewScale", limits: "ScaleUpLimit"},
		{name: "the policy that allows most", grow: rules(0, autoscalingv2.MaxChangePolicySelect, pods(4, 60), percent(100, 60)), current: 10, wanted: 30, want: 20, able: "ReadyForNewScale", limits: "ScaleUpLimit"},
		{name: "the one that allows least", grow: rules(0, autoscalingv2.MinChangePolicySelect, pods(4, 60), percent(100, 60)), current: 10, wanted: 30, want: 14, able: "ReadyForNewScale", limits: "ScaleUpLimit"},
		{name: "disabled, it never grows", grow: rules(0, autoscalingv2.DisabledPolicySelect, pods(4, 60)), current: 10, wanted: 30, want: 10, able: "ReadyForNewScale", limits: "ScaleUpLimit"},
		{name: "never beyond the most", grow: free, current: 10, wanted: 50, want: 40, able: "ReadyForNewScale", limits: "TooManyReplicas"},
		{name: "growing waits for the lowest of its window", grow: rules(60, "", percent(1000, 15)), recommended: []ago{{59, 12}, {61, 2}}, current: 10, wanted: 30, want: 12, able: "ScaleUpStabilized", limits: "DesiredWithinRange"},
		{name: "what is wanted now alone", grow: free, recommended: []ago{{1, 2}}, current: 10, wanted: 30, want: 30, able: "ReadyForNewScale", limits: "DesiredWithinRange"},

		{name: "so many pods fewer a period", shrink: rules(0, "", pods(2, 60)), current: 20, wanted: 5, want: 18, able: "ReadyForNewScale", limits: "ScaleDownLimit"},
		{name: "what shrank within the period counts", shrink: rules(0, "", pods(2, 60)), down: []ago{{30, 1}}, current: 20, wanted: 5, want: 19, able: "ReadyForNewScale", limits: "ScaleDownLimit"},
		{name: "so many percent, rounded down", shrink: rules(0, "", percent(10, 60)), current: 15, wanted: 5, want: 13, able: "ReadyForNewScale", limits: "ScaleDownLimit"},
		{name: "the policy that takes most", shrink: rules(0, autoscalingv2.MaxChangePolicySelect, pods(2, 60), percent(50, 60)), current: 20, wanted: 5, want: 10, able: "ReadyForNewScale", limits: "ScaleDownLimit"},
		{name: "the one that takes least", shrink: rules(0, autoscalingv2.MinChangePolicySelect, pods(2, 60), percent(50, 60)), current: 20, wanted: 5, want: 18, able: "ReadyForNewScale", limits: "ScaleDownLimit"},
		{name: "disabled, it never shrinks", shrink: rules(0, autoscalingv2.DisabledPolicySelect, pods(2, 60)), current: 20, wanted: 5, want: 20, able: "ReadyForNewScale", limits: "ScaleDownLimit"},
		{name: "never below the least", shrink: rules(0, "", percent(100, 15)), current: 20, wanted: 1, want: 2, able: "ReadyForNewScale", limits: "TooFewReplicas"},
		{name: "it shrinks to the highest of its window", shrink: rules(100, "", percent(100, 15)), recommended: []ago{{99, 9}, {101, 19}}, current: 20, wanted: 5, want: 9, able: "ScaleDownStabilized", limits: "DesiredWithinRange"},
		{name: "without a window of its own, to that of five minutes", shrink: &autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{percent(100, 15)}}, recommended: []ago{{299, 9}}, current: 20, wanted: 5, want: 9, able: "ScaleDownStabilized", limits: "DesiredWithinRange"},
		{name: "as it is", current: 5, wanted: 5, want: 5, able: "ReadyForNewScale", limits: "DesiredWithinRange"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: free, ScaleDown: rules(0, "", percent(100, 15))}
			if tc.grow != nil {
				b.ScaleUp = tc.grow
			}
			if tc.shrink != nil {
				b.ScaleDown = tc.shrink
			}
			got := byBehavior(past(tc.recommended, tc.up, tc.down), tc.current, tc.wanted, limits{2, 40}, b, 5*time.Minute, now)
			if got.replicas != tc.want || got.able.word != tc.able || got.limits.word != tc.limits || got.limited != (tc.limits != "DesiredWithinRange") {
				t.Errorf("got %+v, want %d %s %s", got, tc.want, tc.able, tc.limits)
			}
		})
	}
}

func TestTheHistoryForgetsWhatNobodyAsksFor(t *testing.T) {
	t.Parallel()
	h := past([]ago{{1000, 1}, {299, 2}}, []ago{{100, 5}}, nil)
	h.recommend(3, now, 5*time.Minute)
	if len(h.recommended) != 2 || h.recommended[0].replicas != 2 {
		t.Errorf("recommendations: %+v", h.recommended)
	}
	b := &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: rules(0, "", pods(1, 60)), ScaleDown: rules(0, "", pods(1, 30))}
	h.scaled(b, 4, 7, now)
	if len(h.up) != 1 || h.up[0].by != 3 {
		t.Errorf("changes: %+v", h.up)
	}
	h.scaled(b, 7, 5, now)
	if len(h.down) != 1 || h.down[0].by != 2 {
		t.Errorf("changes: %+v", h.down)
	}
	h.scaled(nil, 5, 9, now)
	if len(h.up) != 1 {
		t.Error("without a behavior nobody asks")
	}
}
