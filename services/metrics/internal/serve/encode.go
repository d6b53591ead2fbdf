package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/munnerz/goautoneg"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Forms of an answer.
type form int

const (
	none form = iota
	asJSON
	asProtobuf
	asTable
)

const (
	jsonType     = "application/json"
	protobufType = "application/vnd.kubernetes.protobuf"
)

// negotiate gives the first form that the client takes.
func negotiate(accept string) form {
	if accept == "" {
		return asJSON
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		media := clause.Type + "/" + clause.SubType
		switch as, group := clause.Params["as"], clause.Params["g"]; {
		case as == "Table" && group == metav1.GroupName && (media == jsonType || media == "*/*" || media == "application/*"):
			return asTable
		case as != "":
			continue
		case media == protobufType:
			return asProtobuf
		case media == jsonType, media == "*/*", media == "application/*":
			return asJSON
		}
	}
	return none
}

// protobufs writes the group version's own kinds.
var protobufs = func() *protobuf.Serializer {
	scheme := runtime.NewScheme()
	if err := metrics.AddToScheme(scheme); err != nil {
		panic("metrics.k8s.io/v1beta1 cannot be registered: " + err.Error())
	}
	return protobuf.NewSerializer(scheme, scheme)
}()

func respond(w http.ResponseWriter, r *http.Request, o runtime.Object) {
	f := negotiate(r.Header.Get("Accept"))
	_, described := o.(*metav1.APIResourceList)
	if described && f != none {
		f = asJSON
	}
	switch f {
	case none:
		fail(w, notAcceptable())
	case asProtobuf:
		w.Header().Set("Content-Type", protobufType)
		_ = protobufs.Encode(o, w) // the client may have gone
	case asTable:
		table, err := tableOf(o, metav1.IncludeObjectPolicy(r.URL.Query().Get("includeObject")))
		if err != nil {
			fail(w, err)
			return
		}
		write(w, http.StatusOK, table)
	case asJSON:
		write(w, http.StatusOK, o)
	}
}

func notAcceptable() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + strings.Join([]string{jsonType, protobufType}, ", ")}}
}

func fail(w http.ResponseWriter, err error) {
	var said apierrors.APIStatus
	if !errors.As(err, &said) {
		said = apierrors.NewInternalError(err)
	}
	status := said.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	write(w, int(status.Code), &status)
}

func write(w http.ResponseWriter, code int, o any) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o) // the client may have gone
}
