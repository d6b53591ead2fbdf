package flow

import (
	"net/http"
	"strconv"

	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// What makes a request costly: each takes tens of milliseconds of a CPU.
const (
	costlyBody = 64 << 10
	costlyList = 1 << 20 // bytes of the objects that it goes through
)

// costly says whether a request is to take its turn in the lane.
func (f *Fairness) costly(r *http.Request, info *request.RequestInfo) bool {
	switch info.Verb {
	case "create", "update", "patch":
		return r.ContentLength > costlyBody || r.ContentLength < 0
	case "list", "watch", "deletecollection":
		return info.IsResourceRequest && info.Subresource == "" && info.Name == "" && f.long(r, info)
	}
	return false
}

// long says whether a list, or the beginning of a watch, goes through much.
func (f *Fairness) long(r *http.Request, info *request.RequestInfo) bool {
	query := r.URL.Query()
	most := 0
	switch {
	case info.Verb == "watch" && query.Get("sendInitialEvents") != "true":
		if v := query.Get("resourceVersion"); v != "" && v != "0" {
			return false // it begins behind what is there
		}
	case query.Get("resourceVersion") != "0" || query.Get("continue") != "":
		if n, err := strconv.Atoi(query.Get("limit")); err == nil && n > 0 {
			most = n
		}
	}
	of := resourceOf(info.APIGroup, info.Resource)
	size, seen := 0, 0
	f.o.View(of).Snapshot(of).Ascend(info.Namespace, func(e *statelog.Entry) bool {
		size += len(e.Data())
		seen++
		return size < costlyList && (most == 0 || seen < most)
	})
	return size >= costlyList
}

// resourceOf is where objects of a resource are kept: Events of both groups are one.
func resourceOf(group, resource string) proto.GroupResource {
	if resource == proto.Events.Resource && group == "events.k8s.io" {
		return proto.Events
	}
	return proto.GroupResource{Group: group, Resource: resource}
}
