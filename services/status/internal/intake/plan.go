package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
)

// errDrop marks reports that are of no use and never will be.
var errDrop = errors.New("the report is refused")

// plan is the writes a report asks for; none when all is as it says.
func (in *Intake) plan(ctx context.Context, r *report) ([]apiclient.Request, error) {
	node, err := kubus.ReportNode(r.subject)
	if err != nil {
		return nil, errors.Join(errDrop, err)
	}
	if strings.HasSuffix(r.subject, ".node") && r.subject == kubus.NodeReportSubject(node) {
		var said message.NodeReport
		if err := proto.Unmarshal(r.data, &said); err != nil {
			return nil, errors.Join(errDrop, fmt.Errorf("decoding: %w", err))
		}
		return in.planNode(ctx, node, &said)
	}
	var said message.PodReport
	if err := proto.Unmarshal(r.data, &said); err != nil {
		return nil, errors.Join(errDrop, fmt.Errorf("decoding: %w", err))
	}
	if r.subject != kubus.PodReportSubject(node, said.Namespace, said.Name) {
		return nil, errors.Join(errDrop, fmt.Errorf("it tells of pod %s/%s", said.Namespace, said.Name))
	}
	return in.planPod(ctx, node, &said)
}

func (in *Intake) planPod(ctx context.Context, node string, said *message.PodReport) ([]apiclient.Request, error) {
	path := "/api/v1/namespaces/" + url.PathEscape(said.Namespace) + "/pods/" + url.PathEscape(said.Name)
	pod, err := in.pod(ctx, said, path)
	if err != nil || pod == nil {
		return nil, err
	}
	if pod.Spec.NodeName != node {
		return nil, errors.Join(errDrop, fmt.Errorf("pod %s/%s is not on node %s", said.Namespace, said.Name, node))
	}
	if said.Gone {
		grace, uid := int64(0), types.UID(said.Uid)
		request, err := encode("DELETE", path, &metav1.DeleteOptions{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}, GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &uid},
		})
		return []apiclient.Request{request}, err
	}
	var status corev1.PodStatus
	if err := json.Unmarshal(said.Status, &status); err != nil {
		return nil, errors.Join(errDrop, fmt.Errorf("decoding the status: %w", err))
	}
	in.addresses.ofPod(node, in.places.of(node), pod, &status, func() others { return in.places.others(node) })
	next, changed := mergePod(pod.Status, status)
	if !changed {
		return nil, nil
	}
	request, err := statusPatch(path, pod, pod.Status, next)
	return []apiclient.Request{request}, err
}

// pod is the one the report tells of; nil when it is no more. The gateway the agent
// listens to may be a moment ahead of our view, so what is missing there is asked for.
func (in *Intake) pod(ctx context.Context, said *message.PodReport, path string) (*corev1.Pod, error) {
	var pod *corev1.Pod
	var err error
	if entry := in.view.Get(pods, said.Namespace, said.Name); entry != nil {
		if pod, err = statelog.Decode[corev1.Pod](entry); err != nil {
			return nil, err
		}
		if string(pod.UID) == said.Uid && pod.Spec.NodeName != "" {
			return pod, nil
		}
	}
	if said.Gone && pod == nil {
		return nil, nil
	}
	body, err := in.api.Do(ctx, apiclient.Request{Method: "GET", Path: path})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading pod: %w", err)
	}
	pod = &corev1.Pod{}
	if err := json.Unmarshal(body, pod); err != nil {
		return nil, fmt.Errorf("reading pod: %w", err)
	}
	if string(pod.UID) != said.Uid {
		return nil, nil
	}
	return pod, nil
}

func (in *Intake) planNode(ctx context.Context, name string, said *message.NodeReport) ([]apiclient.Request, error) {
	var reported corev1.Node
	if err := json.Unmarshal(said.Node, &reported); err != nil {
		return nil, errors.Join(errDrop, fmt.Errorf("decoding the node: %w", err))
	}
	if reported.Name != name || said.Name != name {
		return nil, errors.Join(errDrop, fmt.Errorf("it tells of node %s", reported.Name))
	}
	reported.Status.Addresses = in.addresses.ofNode(name, reported.Status.Addresses, in.places.others(name))
	present, err := in.node(ctx, name)
	if err != nil {
		return nil, err
	}
	if present == nil {
		node := newNode(&reported)
		node.Status, _ = mergeNode(corev1.NodeStatus{}, reported.Status, time.Now())
		request, err := encode("POST", "/api/v1/nodes", node)
		return []apiclient.Request{request}, err
	}
	return nodeUpdates(present, &reported, time.Now())
}

func (in *Intake) node(ctx context.Context, name string) (*corev1.Node, error) {
	if entry := in.view.Get(nodes, "", name); entry != nil {
		return statelog.Decode[corev1.Node](entry)
	}
	body, err := in.api.Do(ctx, apiclient.Request{Method: "GET", Path: "/api/v1/nodes/" + url.PathEscape(name)})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading node: %w", err)
	}
	node := &corev1.Node{}
	if err := json.Unmarshal(body, node); err != nil {
		return nil, fmt.Errorf("reading node: %w", err)
	}
	return node, nil
}

// nodeUpdates brings an existing node's status, then its labels, up to the report. A
// label that is not a node's to give is left as it is.
func nodeUpdates(present, reported *corev1.Node, now time.Time) (requests []apiclient.Request, err error) {
	path := "/api/v1/nodes/" + url.PathEscape(present.Name)
	next, changed := mergeNode(present.Status, reported.Status, now)
	if changed {
		request, err := statusPatch(path, present, present.Status, next)
		if err != nil {
			return nil, err
		}
		requests = append(requests, request)
	}
	metadata := map[string]any{}
	if add := missing(present.Labels, ownLabels(reported.Labels)); len(add) > 0 {
		metadata["labels"] = add
	}
	if add := missing(present.Annotations, reported.Annotations); len(add) > 0 {
		metadata["annotations"] = add
	}
	if len(metadata) > 0 {
		request, err := encode("PATCH", path, map[string]any{"metadata": metadata})
		if err != nil {
			return nil, err
		}
		request.ContentType = "application/merge-patch+json"
		requests = append(requests, request)
	}
	return requests, nil
}

func encode(method, path string, body any) (apiclient.Request, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return apiclient.Request{}, fmt.Errorf("encoding %s: %w", path, err)
	}
	return apiclient.Request{Method: method, Path: path, Body: data}, nil
}

// revision is the resourceVersion of an object in JSON; zero when it has none.
func revision(object []byte) uint64 {
	var partial struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if json.Unmarshal(object, &partial) != nil {
		return 0
	}
	number, err := strconv.ParseUint(partial.Metadata.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return number
}
