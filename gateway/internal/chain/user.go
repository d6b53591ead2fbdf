package chain

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"kubus.dev/proto"
)

// BusUser is the user that a name on the bus stands for, with the groups that
// the name implies in Kubernetes.
func BusUser(name string) user.Info {
	groups := []string{user.AllAuthenticated}
	if namespace, _, err := serviceaccount.SplitUsername(name); err == nil {
		groups = append(serviceaccount.MakeGroupNames(namespace), user.AllAuthenticated)
	} else if strings.HasPrefix(name, "system:node:") {
		groups = []string{user.NodesGroup, user.AllAuthenticated}
	} else if name == AdminUser {
		groups = []string{user.SystemPrivilegedGroup, user.AllAuthenticated}
	}
	return &user.DefaultInfo{Name: name, Groups: groups}
}

// AdminUser is the gateway itself and the operator's command inside its process;
// no credential of the bus may speak as it.
const AdminUser = "system:apiserver"

// nameAgent gives a request of one of the cluster's own services, which sends no
// User-Agent, that of its counterpart upstream: field managers are named by it, and
// tools know those names.
func nameAgent(r *http.Request, u user.Info) {
	if r.UserAgent() == "" {
		r.Header.Set("User-Agent", agentOf(u.GetName()))
	}
}

func agentOf(name string) string {
	switch name {
	case proto.StatusUser:
		return "kubelet"
	case proto.CloudUser:
		return "cloud-controller-manager"
	case AdminUser:
		return "kube-apiserver"
	}
	if strings.HasPrefix(name, "system:node:") {
		return "kubelet"
	}
	if slices.Contains(controllers(), name) {
		return "kube-controller-manager"
	}
	return name[strings.LastIndex(name, ":")+1:]
}

// controllers are the users of the controllers, each of which speaks as its own.
var controllers = sync.OnceValue(func() (all []string) {
	for _, group := range proto.ControllerGroups() {
		for _, user := range group.Users {
			all = append(all, proto.ControllerUser(user))
		}
	}
	return all
})
