package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"kubus.dev/gateway/internal/auth"
	"kubus.dev/gateway/internal/chain"
	"kubus.dev/proto"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

func openLog(t *testing.T) *statelog.Log {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	conn := bustest.Start(t)
	views := statelog.OpenViews(ctx, conn, zap.NewNop())
	log, err := statelog.OpenLog(ctx, conn, views, 1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := views.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return log
}

func put(t *testing.T, log *statelog.Log, group, resource string, obj metav1.Object) proto.Key {
	t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	key := proto.Key{GroupResource: proto.GroupResource{Group: group, Resource: resource}, Namespace: obj.GetNamespace(), Name: obj.GetName()}
	if _, err := log.Commit(t.Context(), statelog.Write{Key: key, Data: data}); err != nil {
		t.Fatal(err)
	}
	return key
}

func meta(ns, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}
}

func rule(verb, resource string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{resource}}}
}

func request(u user.Info, verb, ns, resource, name string) authorizer.AttributesRecord {
	r, sub, _ := strings.Cut(resource, "/")
	return authorizer.AttributesRecord{User: u, Verb: verb, Namespace: ns, Resource: r, Subresource: sub, Name: name, APIVersion: "v1", ResourceRequest: true}
}

func TestRolesDecideAndChangesCountAtOnce(t *testing.T) {
	log := openLog(t)
	a := auth.NewAuthorizer(auth.NewRules(log.View))
	const g = "rbac.authorization.k8s.io"
	put(t, log, g, "clusterroles", &rbacv1.ClusterRole{ObjectMeta: meta("", "reader", nil), Rules: rule("get", "pods")})
	put(t, log, g, "clusterroles", &rbacv1.ClusterRole{ObjectMeta: meta("", "sum", nil), Rules: rule("list", "nodes"), AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"part": "yes"}}}}})
	put(t, log, g, "clusterroles", &rbacv1.ClusterRole{ObjectMeta: meta("", "part", map[string]string{"part": "yes"}), Rules: append(rule("list", "nodes"), rule("list", "secrets")...)})
	put(t, log, g, "roles", &rbacv1.Role{ObjectMeta: meta("a", "writer", nil), Rules: rule("create", "pods")})
	put(t, log, g, "clusterrolebindings", &rbacv1.ClusterRoleBinding{ObjectMeta: meta("", "readers", nil), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "Group", Name: "devs"}}})
	put(t, log, g, "clusterrolebindings", &rbacv1.ClusterRoleBinding{ObjectMeta: meta("", "sums", nil), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "sum"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}}})
	writers := put(t, log, g, "rolebindings", &rbacv1.RoleBinding{ObjectMeta: meta("a", "writers", nil), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "writer"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "bot"}}})
	put(t, log, g, "rolebindings", &rbacv1.RoleBinding{ObjectMeta: meta("a", "broken", nil), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "missing"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}}})

	ann := &user.DefaultInfo{Name: "ann", Groups: []string{"devs"}}
	bot := &user.DefaultInfo{Name: "system:serviceaccount:a:bot"}
	otherBot := &user.DefaultInfo{Name: "system:serviceaccount:b:bot"}
	master := &user.DefaultInfo{Name: "x", Groups: []string{user.SystemPrivilegedGroup}}
	for name, c := range map[string]struct {
		r      authorizer.AttributesRecord
		want   bool
		reason string
	}{
		"a group's cluster role, everywhere":       {request(ann, "get", "b", "pods", "x"), true, `RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to Group "devs"`},
		"not another verb":                         {request(ann, "delete", "b", "pods", "x"), false, ""},
		"not a subresource":                        {request(ann, "get", "b", "pods/log", "x"), false, ""},
		"an aggregated role, as it is written":     {request(ann, "list", "", "nodes", ""), true, `to User "ann"`},
		"not what its controller has yet to add":   {request(ann, "list", "", "secrets", ""), false, ""},
		"a service account's role":                 {request(bot, "create", "a", "pods", ""), true, `RBAC: allowed by RoleBinding "writers/a" of Role "writer" to ServiceAccount "bot/a"`},
		"not in another namespace":                 {request(bot, "create", "b", "pods", ""), false, ""},
		"not another namespace's account":          {request(otherBot, "create", "a", "pods", ""), false, ""},
		"a missing role is said":                   {request(ann, "create", "a", "pods", ""), false, `RBAC: role.rbac.authorization.k8s.io "missing" not found`},
		"masters may everything":                   {request(master, "destroy", "a", "worlds", ""), true, ""},
		"nobody knows this user":                   {request(&user.DefaultInfo{Name: "eve"}, "get", "a", "pods", "x"), false, ""},
		"a user named as the group gets no rights": {request(&user.DefaultInfo{Name: "devs"}, "get", "a", "pods", "x"), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			decision, reason, err := a.Authorize(t.Context(), c.r)
			if (decision == authorizer.DecisionAllow) != c.want || !strings.Contains(reason, c.reason) || err != nil {
				t.Errorf("got %v %q %v, want %v %q", decision, reason, err, c.want, c.reason)
			}
		})
	}
	e := log.View(writers.GroupResource).Get(writers.GroupResource, "a", "writers")
	if _, err := log.Commit(t.Context(), statelog.Write{Key: writers, Expect: e.Revision(), Data: e.Data(), Delete: true}); err != nil {
		t.Fatal(err)
	}
	if decision, _, _ := a.Authorize(t.Context(), request(bot, "create", "a", "pods", "")); decision == authorizer.DecisionAllow {
		t.Error("a deleted binding still counts")
	}
}

func TestANodeGetsWhatItsPodsNeed(t *testing.T) {
	log := openLog(t)
	pods := proto.GroupResource{Resource: "pods"}
	log.View(pods).AddIndex(pods, "spec.nodeName", func(e *statelog.Entry) []string {
		pod, err := statelog.Decode[corev1.Pod](e)
		if err != nil {
			return nil
		}
		return []string{pod.Spec.NodeName}
	})
	a := auth.NewAuthorizer(auth.NewRules(log.View))
	put(t, log, "", "pods", &corev1.Pod{ObjectMeta: meta("a", "p", nil), Spec: corev1.PodSpec{
		NodeName: "n1", ServiceAccountName: "sa", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
		Volumes: []corev1.Volume{
			{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}},
			{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
		},
	}})
	for claim, volume := range map[string]string{"data": "pv", "p-scratch": "", "other": "pv2"} {
		put(t, log, "", "persistentvolumeclaims", &corev1.PersistentVolumeClaim{ObjectMeta: meta("a", claim, nil), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: volume}})
	}
	node := func(name string) user.Info {
		return &user.DefaultInfo{Name: "system:node:" + name, Groups: []string{user.NodesGroup}}
	}
	own, err := fields.ParseSelector("spec.nodeName=n1")
	if err != nil {
		t.Fatal(err)
	}
	mine := request(node("n1"), "watch", "", "pods", "")
	mine.FieldSelectorRequirements = own.Requirements()
	theirs := request(node("n2"), "watch", "", "pods", "")
	theirs.FieldSelectorRequirements = own.Requirements()
	for name, c := range map[string]struct {
		r      authorizer.AttributesRecord
		want   bool
		reason string
	}{
		"the pull secret of its pod":      {request(node("n1"), "get", "a", "secrets", "pull"), true, ""},
		"not from another node":           {request(node("n2"), "get", "a", "secrets", "pull"), false, "no relationship found between node 'n2' and this object"},
		"not another secret":              {request(node("n1"), "get", "a", "secrets", "other"), false, "no relationship found"},
		"not all secrets":                 {request(node("n1"), "list", "a", "secrets", ""), false, "No Object name found"},
		"not in another namespace":        {request(node("n1"), "get", "b", "secrets", "pull"), false, "no relationship found"},
		"not to write it":                 {request(node("n1"), "update", "a", "secrets", "pull"), false, "can only read resources of this type"},
		"watching the config map by name": {request(node("n1"), "watch", "a", "configmaps", "cm"), true, ""},
		"a token of its pod's account":    {request(node("n1"), "create", "a", "serviceaccounts/token", "sa"), true, ""},
		"not of another account":          {request(node("n1"), "create", "a", "serviceaccounts/token", "admin"), false, "no relationship found"},
		"its own pods":                    {mine, true, ""},
		"not another node's pods":         {theirs, false, "can only list/watch pods with spec.nodeName field selector"},
		"its pod by name":                 {request(node("n1"), "get", "a", "pods", "p"), true, ""},
		"not another's pod by name":       {request(node("n2"), "get", "a", "pods", "p"), false, "no relationship found"},
		"its own node":                    {request(node("n1"), "get", "", "nodes", "n1"), true, ""},
		"not all nodes":                   {request(node("n1"), "list", "", "nodes", ""), false, "node 'n1' cannot read all nodes, only its own Node object"},
		"services, as every node":         {request(node("n1"), "list", "", "services", ""), true, ""},
		"not deployments":                 {request(node("n1"), "list", "", "deployments", ""), false, ""},
		"the claim of its pod":            {request(node("n1"), "get", "a", "persistentvolumeclaims", "data"), true, ""},
		"that of an ephemeral volume":     {request(node("n1"), "get", "a", "persistentvolumeclaims", "p-scratch"), true, ""},
		"no other claim":                  {request(node("n1"), "get", "a", "persistentvolumeclaims", "other"), false, "no relationship found between node 'n1' and this object"},
		"no claim of another's pod":       {request(node("n2"), "get", "a", "persistentvolumeclaims", "data"), false, "no relationship found"},
		"not all claims":                  {request(node("n1"), "list", "a", "persistentvolumeclaims", ""), false, "can only get individual resources of this type"},
		"the volume behind it":            {request(node("n1"), "get", "", "persistentvolumes", "pv"), true, ""},
		"no other volume":                 {request(node("n1"), "get", "", "persistentvolumes", "pv2"), false, "no relationship found between node 'n1' and this object"},
		"not to delete it":                {request(node("n1"), "delete", "", "persistentvolumes", "pv"), false, "can only get individual resources of this type"},
		"a node without a name":           {request(&user.DefaultInfo{Name: "x", Groups: []string{user.NodesGroup}}, "list", "", "services", ""), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			decision, reason, err := a.Authorize(t.Context(), c.r)
			if (decision == authorizer.DecisionAllow) != c.want || !strings.Contains(reason, c.reason) || err != nil {
				t.Errorf("got %v %q %v, want %v %q", decision, reason, err, c.want, c.reason)
			}
		})
	}
}

func TestADecisionDoesNotSlowDownWithTheNumberOfBindings(t *testing.T) {
	log := openLog(t)
	a := auth.NewAuthorizer(auth.NewRules(log.View))
	const g = "rbac.authorization.k8s.io"
	put(t, log, g, "clusterroles", &rbacv1.ClusterRole{ObjectMeta: meta("", "reader", nil), Rules: rule("get", "pods")})
	bind := func(from, to int) {
		for i := from; i < to; i++ {
			put(t, log, g, "clusterrolebindings", &rbacv1.ClusterRoleBinding{ObjectMeta: meta("", fmt.Sprint("b", i), nil), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: fmt.Sprint("u", i)}}})
		}
	}
	r := request(&user.DefaultInfo{Name: "u2"}, "get", "a", "pods", "x")
	decide := func() float64 {
		return testing.AllocsPerRun(50, func() {
			if decision, _, _ := a.Authorize(t.Context(), r); decision != authorizer.DecisionAllow {
				t.Fatal("refused")
			}
		})
	}
	bind(0, 3)
	few := decide()
	bind(3, 300)
	if many := decide(); many > few {
		t.Errorf("a decision among 300 bindings allocates %v times, among 3 %v times", many, few)
	}
}

func TestWhoSaysNothingIsAnonymousAndWhoLiesIsNobody(t *testing.T) {
	t.Parallel()
	tokens := authenticator.TokenFunc(func(_ context.Context, token string) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "bearer"}}, token == "good", nil
	})
	for name, c := range map[string]struct {
		anonymous   bool
		token, want string
	}{
		"nothing":                             {true, "", user.Anonymous},
		"nothing, where nobody is anonymous":  {false, "", ""},
		"a token":                             {true, "good", "bearer"},
		"a token that nobody knows":           {true, "bad", ""},
		"the same, where nobody is anonymous": {false, "bad", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := auth.NewAuthenticator(auth.Options{Tokens: []authenticator.Token{tokens}, Anonymous: c.anonymous})
			r := httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil)
			if c.token != "" {
				r.Header.Set("Authorization", "Bearer "+c.token)
			}
			resp, ok, _ := a.Requests.AuthenticateRequest(r)
			if got := ok && resp.User.GetName() == c.want; got != (c.want != "") || ok != (c.want != "") {
				t.Errorf("got %v, %+v, want %q", ok, resp, c.want)
			}
		})
	}
}

// issue makes a certificate; a nil parent makes a CA.
func issue(t *testing.T, name string, parent *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	by, signer := template, any(key)
	if parent != nil {
		by, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestAProxyIsBelievedByItsCertificateOnly(t *testing.T) {
	t.Parallel()
	proxyCA, clientCA := issue(t, "proxies", nil), issue(t, "clients", nil)
	file := filepath.Join(t.TempDir(), "proxy.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxyCA.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	headers := auth.DefaultRequestHeader()
	headers.ClientCAFile, headers.AllowedNames = file, []string{"front"}
	proxy, err := headers.Authenticator()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(clientCA.Leaf)
	a := auth.NewAuthenticator(auth.Options{Roots: roots, Proxy: proxy, Certificates: chain.RememberCertificates})
	for _, c := range []struct {
		name, cn, says, want string
		ca                   tls.Certificate
	}{
		{"the proxy speaks for its users", "front", "alice", "alice", proxyCA},
		{"for each of them", "front", "bob", "bob", proxyCA},
		{"another of its CA does not", "back", "alice", "", proxyCA},
		{"a client is who its certificate says", "carol", "", "carol", clientCA},
		{"whatever its headers say", "front", "alice", "front", clientCA},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil)
			ca := c.ca
			leaf := issue(t, c.cn, &ca).Leaf
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
			if c.says != "" {
				r.Header.Set("X-Remote-User", c.says)
				r.Header.Set("X-Remote-Group", "team")
				r.Header.Set("X-Remote-Extra-Why", "because")
			}
			resp, ok, _ := a.Requests.AuthenticateRequest(r)
			if ok != (c.want != "") || ok && resp.User.GetName() != c.want {
				t.Fatalf("got %v %+v, want %q", ok, resp, c.want)
			}
			if c.want == c.says && c.want != "" && (!slices.Contains(resp.User.GetGroups(), "team") || resp.User.GetExtra()["why"][0] != "because") {
				t.Errorf("got %+v", resp.User)
			}
		})
	}
	published, err := headers.Published([]byte("clients"), auth.Forwarder{})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"client-ca-file": "clients", "requestheader-allowed-names": `["front"]`, "requestheader-username-headers": `["X-Remote-User"]`,
		"requestheader-group-headers": `["X-Remote-Group"]`, "requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`, "requestheader-uid-headers": `["X-Remote-Uid"]`,
	} {
		if published[key] != want {
			t.Errorf("%s: got %q, want %q", key, published[key], want)
		}
	}
	if !strings.Contains(published["requestheader-client-ca-file"], "BEGIN CERTIFICATE") {
		t.Error("the proxy's CA is not published")
	}
}

func TestExtensionServersAreToldWhomToBelieve(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, []byte("proxy CA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway := auth.Forwarder{CA: []byte("own CA\n"), Name: "front-proxy-client"}
	for name, c := range map[string]struct {
		proxy     string
		names     []string
		gateway   auth.Forwarder
		ca, allow string
	}{
		"nobody":                           {"", nil, auth.Forwarder{}, "", ""},
		"the gateway":                      {"", nil, gateway, "own CA\n", `["front-proxy-client"]`},
		"a proxy":                          {file, []string{"front"}, auth.Forwarder{}, "proxy CA\n", `["front"]`},
		"any certificate of the proxy's":   {file, nil, auth.Forwarder{}, "proxy CA\n", `[]`},
		"both":                             {file, []string{"front"}, gateway, "own CA\nproxy CA\n", `["front-proxy-client","front"]`},
		"both by one name":                 {file, []string{"front-proxy-client"}, gateway, "own CA\nproxy CA\n", `["front-proxy-client"]`},
		"the gateway and any of a proxy's": {file, nil, gateway, "own CA\nproxy CA\n", `[]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			headers := auth.DefaultRequestHeader()
			headers.ClientCAFile, headers.AllowedNames = c.proxy, c.names
			got, err := headers.Published([]byte("clients"), c.gateway)
			if err != nil {
				t.Fatal(err)
			}
			if got["client-ca-file"] != "clients" || got["requestheader-client-ca-file"] != c.ca || got["requestheader-allowed-names"] != c.allow {
				t.Errorf("got %v", got)
			}
			if headers := got["requestheader-username-headers"]; (headers == "") != (c.ca == "") {
				t.Errorf("the headers are %q", headers)
			}
		})
	}
}

func TestBootstrapTokensAreUpstreams(t *testing.T) {
	t.Parallel()
	stored := &corev1.Secret{ObjectMeta: meta("kube-system", "bootstrap-token-abcdef", nil), Type: "bootstrap.kubernetes.io/token", Data: map[string][]byte{
		"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"), "auth-extra-groups": []byte("system:bootstrappers:new"),
	}}
	tokens := auth.BootstrapTokens(func(ns, name string) (*corev1.Secret, error) {
		if ns != stored.Namespace || name != stored.Name {
			return nil, apierrors.NewNotFound(corev1.Resource("secrets"), name)
		}
		return stored, nil
	})
	resp, ok, err := tokens.AuthenticateToken(t.Context(), "abcdef.0123456789abcdef")
	if err != nil || !ok || resp.User.GetName() != "system:bootstrap:abcdef" || !slices.Equal(resp.User.GetGroups(), []string{"system:bootstrappers", "system:bootstrappers:new"}) {
		t.Errorf("got %v %v %+v", ok, err, resp)
	}
	for _, wrong := range []string{"abcdef.0123456789abcdeg", "ghijkl.0123456789abcdef", "nothing"} {
		if _, ok, err := tokens.AuthenticateToken(t.Context(), wrong); ok || err != nil {
			t.Errorf("%s: got %v, %v", wrong, ok, err)
		}
	}
}
