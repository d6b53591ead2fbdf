package api

import (
	"net/http"
	"net/url"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/gateway/internal/resource"
)

// admitted runs admission before a subresource is connected with, as upstream's
// ConnectResource does: plugins see the options of the connection as the object.
// Reading a log is no connection.
func (m *maker) admitted(kind *resource.Kind, gv schema.GroupVersion, sub *resource.Subresource, next http.Handler) http.Handler {
	if sub.Name == "log" || m.o.Admission == nil {
		return next
	}
	gvk := kind.SubresourceKind(sub, gv)
	scope := sync.OnceValue(func() requestScope {
		return m.scope(target{gvr: gv.WithResource(kind.GVR.Resource), subresource: sub.Name, gvk: gvk, namespaced: kind.Namespaced, types: resource.SchemeMachinery(gvk.Group)})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.o.Admission.Handles(admission.Connect) {
			if err := m.admitConnection(r, scope()); err != nil {
				responsewriters.ErrorNegotiated(err, resource.Codecs, gv, w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (m *maker) admitConnection(r *http.Request, scope requestScope) error {
	ctx := r.Context()
	info, _ := request.RequestInfoFrom(ctx)
	user, _ := request.UserFrom(ctx)
	options, err := scope.Creater.New(scope.HubGroupVersion.WithKind(scope.Kind.Kind))
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if err := scope.ParameterCodec.DecodeParameters(parametersOf(r, info), scope.Kind.GroupVersion(), options); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	attributes := func() admission.Attributes {
		return admission.NewAttributesRecord(options, nil, scope.Kind, info.Namespace, info.Name, scope.Resource, scope.Subresource, admission.Connect, nil, false, user)
	}
	ctx = request.WithNamespace(ctx, info.Namespace)
	chain := admission.WithAudit(m.o.Admission)
	if mutation, ok := chain.(admission.MutationInterface); ok {
		if err := mutation.Admit(ctx, attributes(), scope); err != nil {
			return err
		}
	}
	if validation, ok := chain.(admission.ValidationInterface); ok {
		return validation.Validate(ctx, attributes(), scope)
	}
	return nil
}

// parametersOf are the query's, and for a proxy the path behind it, with the slashes
// that it has at both ends.
func parametersOf(r *http.Request, info *request.RequestInfo) url.Values {
	values := r.URL.Query()
	if info.Subresource != "proxy" {
		return values
	}
	path := strings.Join(info.Parts[min(3, len(info.Parts)):], "/")
	if path != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if strings.HasSuffix(info.Path, "/") && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	values["path"] = []string{path}
	return values
}
