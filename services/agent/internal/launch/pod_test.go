package launch

import (
	"encoding/base64"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/agent/internal/runtime"
)

func TestDNS(t *testing.T) {
	t.Parallel()
	cluster := ClusterDNS{Servers: []string{"10.96.0.10"}, Domain: "cluster.local"}
	node := ParseResolvConf([]byte("# comment\nnameserver 192.0.2.53\nsearch example.com. corp\noptions edns0\n"))
	two := "2"
	for name, c := range map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"cluster first": {corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}, "search n.svc.cluster.local svc.cluster.local cluster.local example.com corp\nnameserver 10.96.0.10\noptions ndots:5\n"},
		"cluster first on the host's network is the node's": {corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, HostNetwork: true}, "search example.com corp\nnameserver 192.0.2.53\noptions edns0\n"},
		"cluster first with host network":                   {corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirstWithHostNet, HostNetwork: true}, "search n.svc.cluster.local svc.cluster.local cluster.local example.com corp\nnameserver 10.96.0.10\noptions ndots:5\n"},
		"default is the node's":                             {corev1.PodSpec{DNSPolicy: corev1.DNSDefault}, "search example.com corp\nnameserver 192.0.2.53\noptions edns0\n"},
		"none with a configuration": {corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{
			Nameservers: []string{"1.1.1.1"}, Searches: []string{"x"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}}}}, "search x\nnameserver 1.1.1.1\noptions ndots:2\n"},
		"a configuration overrides options": {corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, DNSConfig: &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}}}},
			"search n.svc.cluster.local svc.cluster.local cluster.local example.com corp\nnameserver 10.96.0.10\noptions ndots:2\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _ := cluster.DNS(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n"}, Spec: c.spec}, node)
			if text := string(FormatResolvConf(got)); text != c.want {
				t.Errorf("got\n%s\nwant\n%s", text, c.want)
			}
		})
	}
}

func TestHostsFile(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{Spec: corev1.PodSpec{HostAliases: []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"a", "b"}}}}}
	got := string(HostsFile(pod, []string{"10.0.0.2"}, "h", "s.n.svc.cluster.local", nil))
	for _, want := range []string{"# Kubernetes-managed hosts file.\n", "10.0.0.2\th.s.n.svc.cluster.local\th\n", "\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestQOSAndResources(t *testing.T) {
	t.Parallel()
	list := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		if cpu != "" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	const capacity = 1 << 30
	for name, c := range map[string]struct {
		requests, limits corev1.ResourceList
		qos              corev1.PodQOSClass
		want             runtime.Resources
	}{
		"nothing asked is best effort":                 {nil, nil, corev1.PodQOSBestEffort, runtime.Resources{CPUShares: 2, OOMScoreAdj: 1000}},
		"equal requests and limits are guaranteed":     {list("500m", "64Mi"), list("500m", "64Mi"), corev1.PodQOSGuaranteed, runtime.Resources{CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, MemoryLimit: 64 << 20, OOMScoreAdj: -997}},
		"limits alone are guaranteed":                  {nil, list("1", "64Mi"), corev1.PodQOSGuaranteed, runtime.Resources{CPUShares: 1024, CPUQuota: 100000, CPUPeriod: 100000, MemoryLimit: 64 << 20, OOMScoreAdj: -997}},
		"a request alone is burstable":                 {list("", "512Mi"), nil, corev1.PodQOSBurstable, runtime.Resources{CPUShares: 2, OOMScoreAdj: 500}},
		"the smallest quota is a millisecond a period": {nil, list("1m", ""), corev1.PodQOSBurstable, runtime.Resources{CPUShares: 2, CPUQuota: 1000, CPUPeriod: 100000, OOMScoreAdj: 999}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: c.requests, Limits: c.limits}}}}}
			if got := QOS(pod); got != c.qos {
				t.Errorf("QOS = %s, want %s", got, c.qos)
			}
			if got := Resources(pod, &pod.Spec.Containers[0], capacity); got != c.want {
				t.Errorf("Resources = %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestTheLimitsOfThePodAreThoseOfContainersWithoutTheirOwn(t *testing.T) {
	t.Parallel()
	own := corev1.Container{Name: "own", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("1Mi")}}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "none"}, own},
		Resources:  &corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("8Mi")}},
	}}
	for i, want := range []runtime.Resources{
		{CPUShares: 512, CPUPeriod: 100000, CPUQuota: 50000, MemoryLimit: 8 << 20},
		{CPUShares: 102, CPUPeriod: 100000, CPUQuota: 10000, MemoryLimit: 1 << 20},
	} {
		c := &pod.Spec.Containers[i]
		got := Resources(pod, c, 1<<30)
		got.OOMScoreAdj = 0
		if got != want {
			t.Errorf("%s: got %+v, want %+v", c.Name, got, want)
		}
	}
}

func TestNonRoot(t *testing.T) {
	t.Parallel()
	yes, zero, seven := true, int64(0), int64(7)
	for name, c := range map[string]struct {
		sc    corev1.PodSecurityContext
		image string
		err   string
	}{
		"an image with a number":            {corev1.PodSecurityContext{RunAsNonRoot: &yes}, "7:7", ""},
		"an image without a user":           {corev1.PodSecurityContext{RunAsNonRoot: &yes}, "", "container has runAsNonRoot and image will run as root"},
		"an image with a number that wraps": {corev1.PodSecurityContext{RunAsNonRoot: &yes}, "4294967296", `container has runAsNonRoot and image has a user that is none: "4294967296" is not an id between 0 and 2147483647`},
		"an image with a sign":              {corev1.PodSecurityContext{RunAsNonRoot: &yes}, "+1000", `container has runAsNonRoot and image has a user that is none: "+1000" is not an id between 0 and 2147483647`},
		"an image with a name":              {corev1.PodSecurityContext{RunAsNonRoot: &yes}, "nobody", "container has runAsNonRoot and image has non-numeric user (nobody), cannot verify user is non-root"},
		"a user of the pod":                 {corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &seven}, "", ""},
		"root by the pod":                   {corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &zero}, "7", "container's runAsUser breaks non-root policy"},
		"not asked for":                     {corev1.PodSecurityContext{}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &c.sc}}
			_, err := Security(pod, &corev1.Container{Name: "c"}, &runtime.Image{Config: runtime.ImageConfig{User: c.image}}, "/s")
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	auth := base64.StdEncoding.EncodeToString([]byte("u:p"))
	secret := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(
		`{"auths":{"https://index.docker.io/v1/":{"auth":"` + auth + `"},"reg.example.com/team":{"username":"t","password":"q"},"*.example.org":{"username":"w","password":"q"}}}`)}}
	for image, want := range map[string]string{
		"busybox":                        "u",
		"reg.example.com/team/app:1":     "t",
		"reg.example.com/other/app":      "",
		"reg.example.com/teammate":       "",
		"a.example.org/x@sha256:00":      "w",
		"b.a.example.org/x":              "",
		"127.0.0.1:5000/busybox:1":       "",
		"docker.io/library/busybox:1.37": "u",
	} {
		got, err := Credentials(image, []*corev1.Secret{secret})
		if err != nil {
			t.Fatal(err)
		}
		user := ""
		if len(got) > 0 {
			user = got[0].Username
		}
		if user != want {
			t.Errorf("%s: user %q, want %q", image, user, want)
		}
	}
}

func TestTheOverheadOfAPodIsPartOfItsGroup(t *testing.T) {
	t.Parallel()
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)}
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Overhead: list("250m", "16Mi"), Containers: []corev1.Container{
		{Resources: corev1.ResourceRequirements{Requests: list("250m", "8Mi"), Limits: list("500m", "8Mi")}}}}}
	if got, want := PodResources(pod, 0), (runtime.Resources{CPUShares: 512, CPUPeriod: 100000, CPUQuota: 75000, MemoryLimit: 24 << 20}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
