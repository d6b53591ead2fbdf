package launch

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/services/agent/internal/downward"
)

type objects struct {
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
}

func (o objects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if c := o.configMaps[name]; c != nil {
		return c, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}

func (o objects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if s := o.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
}

type services map[string]string

func (s services) Variables(context.Context, string, bool) (map[string]string, error) { return s, nil }

func TestVariables(t *testing.T) {
	t.Parallel()
	yes := true
	env := Environment{
		Objects: objects{
			configMaps: map[string]*corev1.ConfigMap{"cm": {Data: map[string]string{"k": "v", "A": "from"}}},
			secrets:    map[string]*corev1.Secret{"s": {Data: map[string][]byte{"p": []byte("secret")}}},
		},
		Services: services{"KUBERNETES_SERVICE_HOST": "10.96.0.1"},
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", Labels: map[string]string{"l": "x"}}}
	key := func(name, key string, optional *bool) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional}}
	}
	for name, c := range map[string]struct {
		env  []corev1.EnvVar
		from []corev1.EnvFromSource
		want string // one variable, or none when it starts with !
		err  string
	}{
		"a value refers to an earlier one":        {env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)2"}}, want: "B=12"},
		"a value refers to a service variable":    {env: []corev1.EnvVar{{Name: "H", Value: "$(KUBERNETES_SERVICE_HOST)"}}, want: "H=10.96.0.1"},
		"service variables are there":             {want: "KUBERNETES_SERVICE_HOST=10.96.0.1"},
		"the container's own wins over a service": {env: []corev1.EnvVar{{Name: "KUBERNETES_SERVICE_HOST", Value: "me"}}, want: "KUBERNETES_SERVICE_HOST=me"},
		"a whole ConfigMap with a prefix":         {from: []corev1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}}, want: "P_k=v"},
		"env wins over envFrom":                   {from: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}}, env: []corev1.EnvVar{{Name: "A", Value: "env"}}, want: "A=env"},
		"a field of the pod":                      {env: []corev1.EnvVar{{Name: "N", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['l']"}}}}, want: "N=x"},
		"the pod's address":                       {env: []corev1.EnvVar{{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}, want: "IP=10.0.0.5"},
		"a missing ConfigMap":                     {env: []corev1.EnvVar{{Name: "X", ValueFrom: key("no", "k", nil)}}, err: `configmap "no" not found`},
		"a missing optional ConfigMap":            {env: []corev1.EnvVar{{Name: "X", ValueFrom: key("no", "k", &yes)}}, want: "!X="},
		"a missing key":                           {env: []corev1.EnvVar{{Name: "X", ValueFrom: key("cm", "zz", nil)}}, err: "couldn't find key zz in ConfigMap n/cm"},
		"a missing optional key":                  {env: []corev1.EnvVar{{Name: "X", ValueFrom: key("cm", "zz", &yes)}}, want: "!X="},
		"a secret's key":                          {env: []corev1.EnvVar{{Name: "S", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "p"}}}}, want: "S=secret"},
		"a missing Secret":                        {from: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "no"}}}}, err: `secret "no" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := env.Variables(t.Context(), pod, &corev1.Container{Name: "c", Env: c.env, EnvFrom: c.from}, downward.Addresses{PodIPs: []string{"10.0.0.5"}}, nil)
			switch absent, isAbsent := strings.CutPrefix(c.want, "!"); {
			case c.err != "":
				if err == nil || err.Error() != c.err {
					t.Errorf("got error %v, want %q", err, c.err)
				}
			case err != nil:
				t.Errorf("got error %v", err)
			case isAbsent:
				if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, absent) }) {
					t.Errorf("got %q, want nothing like %q", got, absent)
				}
			case !slices.Contains(got, c.want):
				t.Errorf("got %q, want %q among them", got, c.want)
			}
		})
	}
}

func TestServiceVariablesAreThoseOfKubelet(t *testing.T) {
	t.Parallel()
	out := map[string]string{}
	ServiceVariables("web-front", "10.96.0.9", []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}}, out)
	for k, want := range map[string]string{
		"WEB_FRONT_SERVICE_HOST": "10.96.0.9", "WEB_FRONT_SERVICE_PORT": "80", "WEB_FRONT_SERVICE_PORT_HTTP": "80", "WEB_FRONT_SERVICE_PORT_DNS": "53",
		"WEB_FRONT_PORT": "tcp://10.96.0.9:80", "WEB_FRONT_PORT_80_TCP": "tcp://10.96.0.9:80", "WEB_FRONT_PORT_80_TCP_ADDR": "10.96.0.9",
		"WEB_FRONT_PORT_80_TCP_PORT": "80", "WEB_FRONT_PORT_80_TCP_PROTO": "tcp", "WEB_FRONT_PORT_53_UDP": "udp://10.96.0.9:53",
	} {
		if out[k] != want {
			t.Errorf("%s = %q, want %q", k, out[k], want)
		}
	}
}
