package gateway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto/apiclient"
)

const (
	containers = `"containers":[{"name":"c","image":"i"}]`
	workload   = `"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{` + containers + `}}}`
	device     = `"devices":{"requests":[{"name":"one","exactly":{"deviceClassName":"gpu"}}]}`
	webhooks   = `"webhooks":[{"name":"a.example.com","clientConfig":{"url":"https://example.com"},"sideEffects":"None","admissionReviewVersions":["v1"]}]`
	matching   = `"matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["pods"]}]}`
)

// minimal gives what a kind needs beyond a name, as JSON fields.
var minimal = map[string]string{
	"Event":                            `"involvedObject":{"namespace":"default"},"reportingComponent":"t","reportingInstance":"t","action":"a","reason":"r","type":"Normal","eventTime":"2026-01-02T03:04:05.000006Z"`,
	"Pod":                              `"spec":{"serviceAccountName":"test","containers":[{"name":"c","image":"i","ports":[{"containerPort":80}]}]}`,
	"Service":                          `"spec":{"ports":[{"port":80}]}`,
	"Lease":                            `"spec":{"holderIdentity":"me","leaseDurationSeconds":5}`,
	"EndpointSlice":                    `"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}]`,
	"Deployment":                       workload,
	"ReplicaSet":                       workload,
	"DaemonSet":                        workload,
	"StatefulSet":                      workload,
	"ControllerRevision":               `"revision":1,"data":{"a":1}`,
	"ReplicationController":            `"spec":{"selector":{"a":"b"},"template":{"metadata":{"labels":{"a":"b"}},"spec":{` + containers + `}}}`,
	"Job":                              `"spec":{"template":{"spec":{"restartPolicy":"Never",` + containers + `}}}`,
	"CronJob":                          `"spec":{"schedule":"* * * * *","jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never",` + containers + `}}}}}`,
	"HorizontalPodAutoscaler":          `"spec":{"maxReplicas":2,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d"}}`,
	"ClusterRoleBinding":               `"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}`,
	"RoleBinding":                      `"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}`,
	"PriorityClass":                    `"value":7`,
	"PodTemplate":                      `"template":{"spec":{` + containers + `}}`,
	"LimitRange":                       `"spec":{"limits":[{"type":"Pod","max":{"cpu":"4"}}]}`,
	"ResourceQuota":                    `"spec":{"hard":{"pods":"100"}}`,
	"PersistentVolume":                 `"spec":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},"hostPath":{"path":"/data"}}`,
	"PersistentVolumeClaim":            `"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}`,
	"Ingress":                          `"spec":{"defaultBackend":{"service":{"name":"s","port":{"number":80}}}}`,
	"IngressClass":                     `"spec":{"controller":"example.com/c"}`,
	"NetworkPolicy":                    `"spec":{"podSelector":{}}`,
	"IPAddress":                        `"spec":{"parentRef":{"resource":"services","namespace":"default","name":"s"}}`,
	"ServiceCIDR":                      `"spec":{"cidrs":["10.97.0.0/16"]}`,
	"RuntimeClass":                     `"handler":"h"`,
	"PodDisruptionBudget":              `"spec":{"minAvailable":1,"selector":{"matchLabels":{"no":"pod"}}}`,
	"CSIDriver":                        `"spec":{"attachRequired":true}`,
	"CSINode":                          `"spec":{"drivers":[{"name":"example.com","nodeID":"n","topologyKeys":["zone"]}]}`,
	"CSIStorageCapacity":               `"storageClassName":"c"`,
	"StorageClass":                     `"provisioner":"example.com/p"`,
	"VolumeAttachment":                 `"spec":{"attacher":"example.com","nodeName":"n","source":{"persistentVolumeName":"v"}}`,
	"VolumeAttributesClass":            `"driverName":"example.com/d","parameters":{"a":"b"}`,
	"StorageVersionMigration":          `"spec":{"resource":{"group":"example.com","resource":"things"}}`,
	"APIService":                       `"spec":{"group":"x.example","version":"v1","groupPriorityMinimum":100,"versionPriority":100}`,
	"DeviceClass":                      `"spec":{}`,
	"DeviceTaintRule":                  `"spec":{"taint":{"key":"example.com/t","effect":"NoSchedule"}}`,
	"ResourceClaim":                    `"spec":{` + device + `}`,
	"ResourceClaimTemplate":            `"spec":{"spec":{` + device + `}}`,
	"ResourceSlice":                    `"spec":{"driver":"example.com","nodeName":"n","pool":{"name":"n","resourceSliceCount":1}}`,
	"FlowSchema":                       `"spec":{"priorityLevelConfiguration":{"name":"exempt"}}`,
	"PriorityLevelConfiguration":       `"spec":{"type":"Limited","limited":{"nominalConcurrencyShares":1,"limitResponse":{"type":"Reject"}}}`,
	"MutatingWebhookConfiguration":     webhooks,
	"ValidatingWebhookConfiguration":   webhooks,
	"MutatingAdmissionPolicy":          `"spec":{` + matching + `,"reinvocationPolicy":"Never","mutations":[{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"Object{}"}}]}`,
	"MutatingAdmissionPolicyBinding":   `"spec":{"policyName":"p"}`,
	"ValidatingAdmissionPolicy":        `"spec":{` + matching + `,"validations":[{"expression":"true"}]}`,
	"ValidatingAdmissionPolicyBinding": `"spec":{"policyName":"p","validationActions":["Deny"]}`,
	"CertificateSigningRequest":        `"spec":{"signerName":"example.com/s","usages":["any"],"request":"` + base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: certificateRequest()})) + `"}`,
	"ClusterTrustBundle":               `"spec":{"trustBundle":` + strconv.Quote(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootCertificate()}))) + `}`,
	"PodCertificateRequest": `"spec":{"signerName":"example.com/s","podName":"p","podUID":"1","serviceAccountName":"a","serviceAccountUID":"2","nodeName":"n","nodeUID":"3","maxExpirationSeconds":3600,` +
		`"stubPKCS10Request":"` + base64.StdEncoding.EncodeToString(certificateRequest()) + `"}`,
}

// fixedNames are those of kinds that cannot have any.
var fixedNames = map[string]string{"IPAddress": "10.97.0.9", "APIService": "v1.x.example"}

// testKey is that of the certificates in objects.
var testKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func certificateRequest() []byte {
	der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "test"}}, testKey)
	if err != nil {
		panic("a certificate request cannot be made: " + err.Error())
	}
	return der
}

func rootCertificate() []byte {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(nil, template, template, testKey.Public(), testKey)
	if err != nil {
		panic("a certificate cannot be made: " + err.Error())
	}
	return der
}

func TestEveryKindInEveryForm(t *testing.T) {
	g := start(t)
	must[unstructured.Unstructured](t, g, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"test"}}`)
	for _, kind := range resource.BuiltIn() {
		for _, gv := range kind.Served {
			if kind.GVK.Kind == "CustomResourceDefinition" {
				continue // its status is written meanwhile: custom_test.go
			}
			t.Run(gv.String()+" "+kind.GVK.Kind, func(t *testing.T) {
				path := collectionPath(kind, gv)
				name := "x-" + strings.ReplaceAll(gv.Group, ".", "-") + "x"
				if fixed := fixedNames[kind.GVK.Kind]; fixed != "" {
					name = fixed
				}
				body := objectOf(kind, gv, name)
				made := get(t, g, apiclient.Request{Method: "POST", Path: path, Body: []byte(body)})
				checkAs(t, made, gv.WithKind(kind.GVK.Kind))

				// protobuf there and back changes nothing
				object, back := putBack(t, g, path+"/"+name, gv, made)
				before, _ := meta.Accessor(object)
				after, _ := meta.Accessor(back)
				if before.GetResourceVersion() != after.GetResourceVersion() {
					t.Errorf("writing the same in protobuf changed version %s to %s", before.GetResourceVersion(), after.GetResourceVersion())
				}

				apply := get(t, g, apiclient.Request{Method: "PATCH", Path: path + "/" + name, Query: map[string][]string{"fieldManager": {"t"}, "force": {"true"}},
					ContentType: "application/apply-patch+yaml", Body: []byte(strings.Replace(body, `"metadata":{`, `"metadata":{"labels":{"applied":"yes"},`, 1))})
				checkAs(t, apply, gv.WithKind(kind.GVK.Kind))

				checkSettled(t, g, kind, name)
				for _, accept := range []string{"application/json", "application/yaml", protobuf, "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"} {
					if list := get(t, g, apiclient.Request{Path: path, Accept: accept}); len(list) == 0 {
						t.Errorf("%s: an empty answer", accept)
					}
				}
				for _, sub := range kind.Subresources {
					if sub.Update != nil && sub.Name != "finalize" {
						get(t, g, apiclient.Request{Path: path + "/" + name + "/" + sub.Name})
					}
				}
				zero := int64(0)
				if err := apiclient.Delete(t.Context(), g.admin, path+"/"+name, &metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// checkSettled wants a stored document that is the same when it is read and written
// again: what readers get of its bytes is what a decoded object would show.
func checkSettled(t *testing.T, g *running, kind *resource.Kind, name string) {
	t.Helper()
	namespace := ""
	if kind.Namespaced {
		namespace = "default"
	}
	entry := g.state.View(kind.GR()).Get(kind.GR(), namespace, name)
	if entry == nil {
		t.Fatal("it is not in the log")
	}
	if kind.Sealed {
		return
	}
	object, err := kind.Codec.Decode(entry.JSON())
	if err != nil {
		t.Fatal(err)
	}
	again, err := kind.Codec.Encode(object)
	if err != nil || !bytes.Equal(again, entry.Data()) {
		t.Errorf("stored: %s\nread and written: %s, %v", entry.Data(), again, err)
	}
}

const protobuf = "application/vnd.kubernetes.protobuf"

// putBack writes an object in protobuf as it is, and gives it and the answer. Of some
// kinds the server writes the status meanwhile: the object is read again then.
func putBack(t *testing.T, g *running, path string, gv schema.GroupVersion, made []byte) (object, back runtime.Object) {
	t.Helper()
	info, _ := runtime.SerializerInfoForMediaType(resource.Codecs.SupportedMediaTypes(), protobuf)
	for {
		object, err := runtime.Decode(resource.Codecs.UniversalDeserializer(), made)
		if err != nil {
			t.Fatal(err)
		}
		data, err := runtime.Encode(resource.Codecs.EncoderForVersion(info.Serializer, gv), object)
		if err != nil {
			t.Fatal(err)
		}
		same, err := g.admin.Do(t.Context(), apiclient.Request{Method: "PUT", Path: path, Body: data, ContentType: protobuf, Accept: protobuf})
		if apierrors.IsConflict(err) {
			made = get(t, g, apiclient.Request{Path: path})
			continue
		}
		if err != nil {
			t.Fatalf("PUT %s: %v", path, err)
		}
		back, err := runtime.Decode(resource.Codecs.UniversalDeserializer(), same)
		if err != nil {
			t.Fatal(err)
		}
		return object, back
	}
}

func collectionPath(kind *resource.Kind, gv schema.GroupVersion) string {
	path := "/apis/" + gv.String()
	if gv.Group == "" {
		path = "/api/" + gv.Version
	}
	if kind.Namespaced {
		path += "/namespaces/default"
	}
	return path + "/" + kind.GVR.Resource
}

func objectOf(kind *resource.Kind, gv schema.GroupVersion, name string) string {
	fields := minimal[kind.GVK.Kind]
	if gv.Group == "events.k8s.io" {
		fields = strings.NewReplacer("involvedObject", "regarding", "reportingComponent", "reportingController").Replace(fields)
	}
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q,"annotations":{"by":"test"}}%s}`, gv.String(), kind.GVK.Kind, name, fields)
}

func get(t *testing.T, g *running, r apiclient.Request) []byte {
	t.Helper()
	data, err := g.admin.Do(t.Context(), r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.Path, err)
	}
	return data
}

func checkAs(t *testing.T, data []byte, want schema.GroupVersionKind) {
	t.Helper()
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	if u.GroupVersionKind() != want || u.GetUID() == "" || u.GetResourceVersion() == "" || len(u.GetManagedFields()) == 0 {
		t.Errorf("got %s", data)
	}
}
