package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// autoscale measures how long it takes from the moment when the load of two pods
// doubles until a HorizontalPodAutoscaler of default behaviour has made four of them,
// on a real node with a real load: each pod burns what it is told to. The median of five
// times.
func autoscale(ctx context.Context, e *Env) (Result, error) {
	if e.Consumer == "" {
		return Result{}, errors.New("-consumer names an image that burns CPU when told to, for a cluster with a node")
	}
	ns, remove, err := e.namespace(ctx, "autoscale")
	if err != nil {
		return Result{}, err
	}
	defer remove()
	var took []time.Duration
	for round := range 5 {
		t, err := e.doubled(ctx, ns, fmt.Sprintf("load-%d", round))
		if err != nil {
			return Result{}, fmt.Errorf("round %d: %w", round+1, err)
		}
		e.Log("load doubled, replicas doubled after %s", t)
		took = append(took, t)
	}
	more := percentiles(took)
	return Result{Value: more["p50_ms"] / 1000, More: map[string]float64{
		"least_ms": float64(took[0].Milliseconds()), "most_ms": float64(took[len(took)-1].Milliseconds()),
	}}, nil
}

// doubled runs two pods at their target, doubles what they burn, and waits for four.
func (e *Env) doubled(ctx context.Context, ns, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	const each = 100 // millicores, half of what a pod requests
	labels := fields{"app": name}
	deployment := object("apps/v1", "Deployment", ns, name)
	deployment["spec"] = fields{"replicas": 2, "selector": fields{"matchLabels": labels}, "template": fields{
		"metadata": fields{"labels": labels},
		"spec": fields{"terminationGracePeriodSeconds": 0, "containers": []fields{{
			"name": "consumer", "image": e.Consumer, "resources": fields{"requests": fields{"cpu": strconv.Itoa(2*each) + "m"}},
		}}},
	}}
	deployments := "/apis/apps/v1/namespaces/" + ns + "/deployments"
	if _, err := e.admin.Do(ctx, http.MethodPost, deployments, deployment); err != nil {
		return 0, err
	}
	defer func() {
		_, err := e.admin.Do(context.WithoutCancel(ctx), http.MethodDelete, deployments+"/"+name, fields{"propagationPolicy": "Background"})
		if err != nil {
			e.Log("removing %s: %v", name, err)
		}
	}()
	// A field of the autoscaler or the Deployment, as text.
	field := func(path string, get func(o fields) any) func() (string, error) {
		return func() (string, error) {
			data, err := e.admin.Do(ctx, http.MethodGet, path, nil)
			if err != nil {
				return "", err
			}
			var o fields
			if err := json.Unmarshal(data, &o); err != nil {
				return "", err
			}
			return fmt.Sprint(get(o)), nil
		}
	}
	part := func(o fields, name string) fields { p, _ := o[name].(fields); return p }
	if err := e.is(ctx, "2", field(deployments+"/"+name, func(o fields) any { return part(o, "status")["readyReplicas"] })); err != nil {
		return 0, err
	}
	pods, err := e.names(ctx, podsOf(ns)+"?labelSelector=app%3D"+name)
	if err != nil {
		return 0, err
	}
	burn := func() error {
		for _, pod := range pods {
			query := url.Values{"millicores": {strconv.Itoa(each)}, "durationSec": {"120"}}
			if _, err := e.admin.Do(ctx, http.MethodPost, podsOf(ns)+"/"+pod+":8080/proxy/ConsumeCPU?"+query.Encode(), nil); err != nil {
				return err
			}
		}
		return nil
	}
	if err := burn(); err != nil {
		return 0, err
	}
	scaler := object("autoscaling/v2", "HorizontalPodAutoscaler", ns, name)
	scaler["spec"] = fields{
		"scaleTargetRef": fields{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "minReplicas": 2, "maxReplicas": 10,
		"metrics": []fields{{"type": "Resource", "resource": fields{"name": "cpu", "target": fields{"type": "Utilization", "averageUtilization": 50}}}},
	}
	scalers := "/apis/autoscaling/v2/namespaces/" + ns + "/horizontalpodautoscalers"
	if _, err := e.admin.Do(ctx, http.MethodPost, scalers, scaler); err != nil {
		return 0, err
	}
	defer func() {
		if _, err := e.admin.Do(context.WithoutCancel(ctx), http.MethodDelete, scalers+"/"+name, nil); err != nil {
			e.Log("removing the autoscaler %s: %v", name, err)
		}
	}()
	if err := e.until(ctx, time.Minute, func() (bool, error) {
		data, err := e.admin.Do(ctx, http.MethodGet, scalers+"/"+name, nil)
		return strings.Contains(string(data), `"currentMetrics":[{`), err
	}); err != nil {
		return 0, fmt.Errorf("waiting for the autoscaler's first look: %w", err)
	}
	time.Sleep(5 * time.Second) // a few rounds at the target: nothing is to be done
	replicas := field(deployments+"/"+name, func(o fields) any { return part(o, "spec")["replicas"] })
	if err := e.is(ctx, "2", replicas); err != nil {
		return 0, fmt.Errorf("at the target it scales: %w", err)
	}
	began := time.Now()
	if err := burn(); err != nil {
		return 0, err
	}
	if err := e.is(ctx, "4", replicas); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

// is waits until a field has a value, looking every 50 ms.
func (e *Env) is(ctx context.Context, want string, get func() (string, error)) error {
	got := ""
	for {
		var err error
		if got, err = get(); got == want || err != nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s, it is %s: %w", want, got, ctx.Err())
		}
	}
}
