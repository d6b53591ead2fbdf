package api

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"kubus.dev/gateway/internal/resource"
)

// produced are the media types of every answer, streamed those that a watch adds.
var (
	produced = []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf}
	streamed = []string{runtime.ContentTypeJSON + ";stream=watch", runtime.ContentTypeProtobuf + ";stream=watch"}
	patches  = resource.SchemeMachinery("").PatchTypes
)

// mediaRefusal says what upstream's router, go-restful, answers to a request whose
// media types no route takes; a code of 0 is no refusal. It comes before the
// handlers' own negotiation, which knows parameters.
func mediaRefusal(r *http.Request, verb string) (code int, message string) {
	if verb == "patch" && !names(r.Header.Get("Content-Type"), patches) {
		return http.StatusUnsupportedMediaType, "415: Unsupported Media Type"
	}
	accept := r.Header.Get("Accept")
	if accept == "" || names(accept, append([]string{"*/*"}, produced...)) {
		return 0, ""
	}
	available := produced
	if collectionVerb(verb) {
		available = slices.Concat(produced, streamed)
	}
	return http.StatusNotAcceptable, "406: Not Acceptable\n\nAvailable representations: " + strings.Join(available, ", ")
}

// Refused answers a GET whose media types no route of upstream's router takes, and
// says whether it did.
func Refused(w http.ResponseWriter, r *http.Request) bool {
	code, message := mediaRefusal(r, "get")
	if code == 0 {
		return false
	}
	generic(w, r, code, message)
	return true
}

// names says whether a header names one of types, whatever the parameters.
func names(header string, types []string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, _, _ := strings.Cut(part, ";")
		if slices.Contains(types, strings.Trim(name, " ")) {
			return true
		}
	}
	return false
}
