package flow

import (
	"context"
	"fmt"
	"net/http"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyv1 "k8s.io/client-go/applyconfigurations/flowcontrol/v1"
	client1 "k8s.io/client-go/kubernetes/typed/flowcontrol/v1"
	"k8s.io/client-go/rest"
)

// client writes the conditions of FlowSchemas that exist. The library writes nothing
// else: the rest of these interfaces is nil.
type client struct {
	client1.FlowcontrolV1Interface
	view ViewFunc
	api  client1.FlowSchemaInterface
}

func newClient(api http.RoundTripper, view ViewFunc) (*client, error) {
	c, err := client1.NewForConfigAndClient(&rest.Config{Host: "http://gateway", QPS: -1}, &http.Client{Transport: api})
	if err != nil {
		return nil, fmt.Errorf("client of flow schemas: %w", err)
	}
	return &client{view: view, api: c.FlowSchemas()}, nil
}

func (c *client) FlowSchemas() client1.FlowSchemaInterface { return schemaClient{c: c} }

type schemaClient struct {
	client1.FlowSchemaInterface
	c *client
}

// ApplyStatus does nothing to a suggested object that only we know of.
func (s schemaClient) ApplyStatus(ctx context.Context, schema *applyv1.FlowSchemaApplyConfiguration, o metav1.ApplyOptions) (*flowcontrolv1.FlowSchema, error) {
	name := *schema.GetName()
	if s.c.view(schemas).Get(schemas, "", name) == nil {
		return nil, apierrors.NewNotFound(flowcontrolv1.Resource("flowschemas"), name)
	}
	return s.c.api.ApplyStatus(ctx, schema, o)
}
