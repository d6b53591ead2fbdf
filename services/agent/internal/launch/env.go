package launch

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/services/agent/internal/downward"
	"kubus.dev/services/agent/internal/static"
)

// Objects gives what a pod's spec names. An object that does not exist is an
// error for which apierrors.IsNotFound holds.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Services gives the service variables of a namespace: always those of the
// kubernetes Service, those of the namespace's own when links is set. It waits
// until the Services have been read once.
type Services interface {
	Variables(ctx context.Context, namespace string, links bool) (map[string]string, error)
}

// Environment makes the variables of containers.
type Environment struct {
	Objects     Objects
	Services    Services
	Allocatable corev1.ResourceList
}

// staticWait is how long a static pod waits for the Services: it starts without the cluster.
const staticWait = 2 * time.Second

func (e *Environment) services(ctx context.Context, pod *corev1.Pod, links bool) (map[string]string, error) {
	if !static.Is(pod) {
		return e.Services.Variables(ctx, pod.Namespace, links)
	}
	short, cancel := context.WithTimeout(ctx, staticWait)
	defer cancel()
	out, err := e.Services.Variables(short, pod.Namespace, links)
	if err != nil && ctx.Err() == nil {
		return nil, nil // none is known
	}
	return out, err
}

// Variables gives a container's environment as NAME=value, sorted by name. volumes says where the pod's volumes are.
func (e *Environment) Variables(ctx context.Context, pod *corev1.Pod, c *corev1.Container, a downward.Addresses, volumes map[string]string) ([]string, error) {
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	service, err := e.services(ctx, pod, links)
	if err != nil {
		return nil, err
	}
	vars := make(map[string]string, len(service)+len(c.Env))
	for i := range c.EnvFrom {
		if err := e.from(ctx, pod.Namespace, &c.EnvFrom[i], vars); err != nil {
			return nil, err
		}
	}
	lookup := func(name string) (string, bool) {
		if v, ok := vars[name]; ok {
			return v, true
		}
		v, ok := service[name]
		return v, ok
	}
	for i := range c.Env {
		v := &c.Env[i]
		value, skip := Expand(v.Value, lookup), false
		if v.Value == "" && v.ValueFrom != nil {
			if v.ValueFrom.FileKeyRef != nil {
				value, skip, err = fromFile(v.ValueFrom.FileKeyRef, volumes)
			} else {
				value, skip, err = e.source(ctx, pod, c, v.ValueFrom, a)
			}
			if err != nil {
				return nil, err
			}
		}
		if !skip {
			vars[v.Name] = value
		}
	}
	for k, v := range service {
		if _, ok := vars[k]; !ok {
			vars[k] = v
		}
	}
	out := make([]string, 0, len(vars))
	for k, v := range vars {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return out, nil
}

func (e *Environment) from(ctx context.Context, namespace string, f *corev1.EnvFromSource, vars map[string]string) error {
	switch {
	case f.ConfigMapRef != nil:
		cm, err := e.Objects.ConfigMap(ctx, namespace, f.ConfigMapRef.Name)
		if missing(err, f.ConfigMapRef.Optional) {
			return nil
		}
		if err != nil {
			return err
		}
		for k, v := range cm.Data {
			if !strings.Contains(k, "=") {
				vars[f.Prefix+k] = v
			}
		}
	case f.SecretRef != nil:
		s, err := e.Objects.Secret(ctx, namespace, f.SecretRef.Name)
		if missing(err, f.SecretRef.Optional) {
			return nil
		}
		if err != nil {
			return err
		}
		for k, v := range s.Data {
			if !strings.Contains(k, "=") {
				vars[f.Prefix+k] = string(v)
			}
		}
	}
	return nil
}

func (e *Environment) source(ctx context.Context, pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource, a downward.Addresses) (value string, skip bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = downward.Field(pod, from.FieldRef, a)
		return value, false, err
	case from.ResourceFieldRef != nil:
		value, err = downward.Resource(pod, c, from.ResourceFieldRef, e.Allocatable)
		return value, false, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm, err := e.Objects.ConfigMap(ctx, pod.Namespace, ref.Name)
		if missing(err, ref.Optional) {
			return "", true, nil
		}
		if err != nil {
			return "", false, err
		}
		value, ok := cm.Data[ref.Key]
		if !ok && !isTrue(ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, pod.Namespace, ref.Name)
		}
		return value, !ok, nil
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := e.Objects.Secret(ctx, pod.Namespace, ref.Name)
		if missing(err, ref.Optional) {
			return "", true, nil
		}
		if err != nil {
			return "", false, err
		}
		value, ok := s.Data[ref.Key]
		if !ok && !isTrue(ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, pod.Namespace, ref.Name)
		}
		return string(value), !ok, nil
	}
	return "", false, fmt.Errorf("the source of the variable is not supported by this node")
}

func missing(err error, optional *bool) bool {
	return err != nil && isTrue(optional) && apierrors.IsNotFound(err)
}

func isTrue(b *bool) bool { return b != nil && *b }

// ServiceVariables are the Docker-links style variables of one Service that has
// a cluster IP. Source: pkg/kubelet/envvars.
func ServiceVariables(name, clusterIP string, ports []corev1.ServicePort, out map[string]string) {
	if clusterIP == "" || clusterIP == corev1.ClusterIPNone || len(ports) == 0 {
		return
	}
	prefix := variableName(name)
	out[prefix+"_SERVICE_HOST"] = clusterIP
	out[prefix+"_SERVICE_PORT"] = itoa(ports[0].Port)
	for i, p := range ports {
		if p.Name != "" {
			out[prefix+"_SERVICE_PORT_"+variableName(p.Name)] = itoa(p.Port)
		}
		protocol := strings.ToLower(string(p.Protocol))
		if protocol == "" {
			protocol = "tcp"
		}
		url := protocol + "://" + hostPort(clusterIP, p.Port)
		if i == 0 {
			out[prefix+"_PORT"] = url
		}
		one := prefix + "_PORT_" + itoa(p.Port) + "_" + strings.ToUpper(protocol)
		out[one] = url
		out[one+"_PROTO"] = protocol
		out[one+"_PORT"] = itoa(p.Port)
		out[one+"_ADDR"] = clusterIP
	}
}

func variableName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
