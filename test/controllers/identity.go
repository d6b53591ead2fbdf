package controllers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"time"
)

// ask is a CertificateSigningRequest.
func ask(name, signer, usages string, subject pkix.Name, dns ...string) Action {
	return func(ctx ctx, a *Actor) string {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return "no key"
		}
		request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject, DNSNames: dns}, key)
		if err != nil {
			return "no request"
		}
		doc := yamlDoc("{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: SELF-" + name + "}, spec: {signerName: " + signer + ", usages: " + usages + "}}")
		doc["spec"].(Object)["request"] = base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}))
		return a.create(ctx, "certificatesigningrequests", doc)
	}
}

func certificates() []*Sequence {
	approve := func(name, kind string) Action {
		return Patch("certificatesigningrequests", "SELF-"+name+"/approval", "status: {conditions: [{type: "+kind+", status: \"True\", reason: Because, message: m}]}")
	}
	node := pkix.Name{CommonName: "system:node:x", Organization: []string{"system:nodes"}}
	const client, serving, legacy = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client"
	return []*Sequence{
		story("certificate", "csrkubelet", do("a kubelet's client", ask("a", client, "[digital signature, client auth]", node)), do("not a kubelet's", ask("b", client, "[digital signature, client auth]", pkix.Name{CommonName: "bob"})),
			do("approved", approve("a", "Approved")), do("approved though wrong", approve("b", "Approved"))),
		story("certificate", "csrserving", do("serving", ask("a", serving, "[digital signature, server auth]", node, "x.example.com")), do("approved", approve("a", "Approved")),
			do("without names", ask("b", serving, "[digital signature, server auth]", node)), do("approved too", approve("b", "Approved"))),
		story("certificate", "csrclient", do("a client", ask("a", legacy, "[client auth]", pkix.Name{CommonName: "bob"})), do("denied", approve("a", "Denied")), do("another", ask("b", legacy, "[client auth, server auth]", pkix.Name{CommonName: "bob"})),
			do("approved with wrong usages", approve("b", "Approved")), do("masters", ask("c", legacy, "[client auth]", pkix.Name{CommonName: "bob", Organization: []string{"system:masters"}})), do("a right one", ask("d", legacy, "[client auth]", pkix.Name{CommonName: "bob"})),
			do("is approved", approve("d", "Approved"))),
		story("certificate", "csrother", do("another's signer", ask("a", "example.com/x", "[client auth]", pkix.Name{CommonName: "bob"})), do("approved", approve("a", "Approved"))),
		story("certificate", "csrunknown", do("legacy unknown", ask("a", "kubernetes.io/legacy-unknown", "[client auth, server auth]", pkix.Name{CommonName: "bob"}, "a.example")), do("approved", approve("a", "Approved"))),
	}
}

func roles() []*Sequence {
	role := func(name, labels, verbs string) Action {
		return Create("clusterroles", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: SELF-"+name+", labels: {"+labels+"}}, rules: [{apiGroups: [\"\"], resources: [pods], verbs: ["+verbs+"]}]}")
	}
	return []*Sequence{
		story("clusterrole", "rolesum", do("parts", role("b", "sum: SELF", "get"), role("a", "sum: SELF", "list")), do("the sum", Create("clusterroles", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: SELF-sum}, aggregationRule: {clusterRoleSelectors: [{matchLabels: {sum: SELF}}]}, rules: []}")),
			do("one more", role("c", "sum: SELF", "get")), do("and another", role("d", "sum: SELF", "watch")), do("one changes", Patch("clusterroles", "SELF-a", `rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]`)), do("one goes", Delete("clusterroles", "SELF-b", "")),
			do("one leaves", Patch("clusterroles", "SELF-d", "metadata: {labels: {sum: none}}")), do("by hand", Patch("clusterroles", "SELF-sum", "rules: []")),
			do("no rule any more", Patch("clusterroles", "SELF-sum", "aggregationRule: null"))),
		story("clusterrole", "roleselectors", do("two selectors", role("a", "x: SELF", "get"), role("b", "y: SELF", "list"), Create("clusterroles", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: SELF-sum}, aggregationRule: {clusterRoleSelectors: [{matchLabels: {y: SELF}}, {matchExpressions: [{key: x, operator: In, values: [SELF]}]}]}, rules: []}"))),
	}
}

func accounts() []*Sequence {
	return []*Sequence{
		story("account", "accountdefault", do("the default account goes", Delete("serviceaccounts", "default", "")), do("the authority is changed", Patch("configmaps", "kube-root-ca.crt", "data: {ca.crt: x, other: y}")),
			do("the authority goes", Delete("configmaps", "kube-root-ca.crt", ""))),
		story("account", "accounttoken", do("an account", Create("serviceaccounts", "metadata: {name: a}")), do("a token", Create("secrets", "{metadata: {name: t, annotations: {kubernetes.io/service-account.name: a}}, type: kubernetes.io/service-account-token}")),
			do("emptied", Patch("secrets", "t", "data: {token: null, ca.crt: null}")), do("the account goes", Delete("serviceaccounts", "a", ""))),
		story("account", "accountabsent", do("a token of nobody", Create("secrets", "{metadata: {name: t, annotations: {kubernetes.io/service-account.name: nobody}}, type: kubernetes.io/service-account-token}")).until(gone("secrets", "t"))),
	}
}

func autoscalers() []*Sequence {
	scaler := func(name, spec string) Action {
		return Create("horizontalpodautoscalers", "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: "+name+"}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 5, "+spec+"}}")
	}
	const cpu = "metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]"
	patient := func(s Step) Step { return s.patient(20 * time.Second) } // upstream looks every 15 s
	active := func(kind string) func(Objects) bool {
		return func(o Objects) bool {
			for _, h := range of(o, "horizontalpodautoscalers") {
				for _, c := range list(h, "status", "conditions") {
					if str(c, "type") == kind {
						return true
					}
				}
			}
			return false
		}
	}
	return []*Sequence{
		story("autoscaler", "hpametrics", nodes(1), do("pods", Create("deployments", web)), patient(do("without metrics", scaler("a", cpu)).until(active("ScalingActive"))),
			patient(do("to none", Patch("deployments", "web", "spec: {replicas: 0}")).until(reason("horizontalpodautoscalers", "a", "ScalingActive", "ScalingDisabled"))), patient(do("back", Patch("deployments", "web", "spec: {replicas: 2}")).until(reason("horizontalpodautoscalers", "a", "ScalingActive", "FailedGetResourceMetric")))),
		story("autoscaler", "hpabounds", nodes(1), do("pods", Create("deployments", web)), patient(do("fewer than the least", scaler("a", "minReplicas: 4, "+cpu)).until(active("ScalingActive"))), patient(do("more than the most", Patch("horizontalpodautoscalers", "a", "spec: {minReplicas: 1, maxReplicas: 2}")))),
		story("autoscaler", "hpatarget", patient(do("no target", scaler("a", cpu)).until(active("AbleToScale")))),
		story("autoscaler", "hpatwo", nodes(1), do("pods", Create("deployments", web)), patient(do("two of them", scaler("a", cpu), scaler("b", cpu)).until(reason("horizontalpodautoscalers", "b", "ScalingActive", "AmbiguousSelector")))),
	}
}
