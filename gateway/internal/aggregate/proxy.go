package aggregate

import (
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	proxyutil "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/transport"

	"kubus.dev/gateway/internal/flow"
)

// Handler passes requests for remote group versions to their servers and the others
// to local. The context carries upstream's RequestInfo and the authorized user.
func (a *Aggregator) Handler(local http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r := a.remoteOf(req.URL.Path)
		if r == nil || r.service == nil && !ofResource(req) {
			local.ServeHTTP(w, req)
			return
		}
		r.serve(w, req)
	})
}

// ofResource says whether a request is about a resource, and not discovery.
func ofResource(req *http.Request) bool {
	info, ok := request.RequestInfoFrom(req.Context())
	return ok && info.IsResourceRequest
}

// remoteOf finds the server of a path below /apis/GROUP/VERSION; nil: it is ours.
func (a *Aggregator) remoteOf(path string) *remote {
	remotes := a.table.Load().remotes
	if len(remotes) == 0 {
		return nil
	}
	parts := strings.SplitN(strings.Trim(path, "/"), "/", 4)
	if len(parts) < 3 || parts[0] != "apis" {
		return nil
	}
	return remotes[schema.GroupVersion{Group: parts[1], Version: parts[2]}]
}

func (r *remote) serve(w http.ResponseWriter, req *http.Request) {
	switch {
	case !r.available && r.service != nil: // a delegate answers as soon as it is there again
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	case r.broken != nil:
		http.Error(w, r.broken.Error(), http.StatusInternalServerError)
		return
	}
	user, ok := request.UserFrom(req.Context())
	if !ok {
		http.Error(w, "missing user", http.StatusInternalServerError)
		return
	}
	location := &url.URL{Scheme: "https", Host: r.host(), Path: req.URL.Path, RawQuery: req.URL.Query().Encode()}
	onward, cancel := proxyutil.NewRequestForProxy(location, req)
	defer cancel()
	upgrade := httpstream.IsUpgradeRequest(req)
	if upgrade {
		// An upgrade is dialled past the round tripper that would set them.
		transport.SetAuthProxyHeaders(onward, user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra())
	}
	road := transport.NewAuthProxyRoundTripper(user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra(), r.transport)
	handler := proxy.NewUpgradeAwareHandler(location, road, true, upgrade, failure{})
	handler.RejectForwardingRedirects = true
	flowcontrol.RequestDelegated(req.Context()) // a watch elsewhere keeps no seat here
	flow.Delegated(req.Context())
	handler.ServeHTTP(w, onward)
}

// failure says that a server could not be reached, as upstream does.
type failure struct{}

func (failure) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}
