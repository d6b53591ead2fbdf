package read

import (
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/proto/statelog"
)

var errNoRequestInfo = errors.New("no RequestInfo found in the context")

func (c *collection) get(w http.ResponseWriter, req *http.Request, info *request.RequestInfo) error {
	s, err := c.negotiate(req, false)
	if err != nil {
		return err
	}
	revision, err := getRevision(req)
	if err != nil {
		return err
	}
	entry, err := c.find(req, info.Namespace, info.Name, revision)
	if err != nil {
		return err
	}
	return c.respondObject(w, req, s, entry)
}

// getRevision reads the options of a GET; the common request has none.
func getRevision(req *http.Request) (string, error) {
	if req.URL.RawQuery == "" {
		return "", nil
	}
	query := req.URL.Query()
	if export := query["export"]; len(export) > 0 {
		on := true
		if err := runtime.Convert_Slice_string_To_bool(&export, &on, nil); err != nil {
			return "", apierrors.NewBadRequest(fmt.Sprintf("the export parameter cannot be parsed: %v", err))
		}
		if on {
			return "", apierrors.NewBadRequest("the export parameter, deprecated since v1.14, is no longer supported")
		}
	}
	options := metav1.GetOptions{}
	if err := metainternalversionscheme.ParameterCodec.DecodeParameters(query, metav1.SchemeGroupVersion, &options); err != nil {
		return "", apierrors.NewBadRequest(err.Error())
	}
	return options.ResourceVersion, nil
}

// find gives the live object, read as the resourceVersion of the request asks.
func (c *collection) find(req *http.Request, ns, name, revision string) (*statelog.Entry, error) {
	minimum, err := parseRevision(revision)
	if err != nil {
		return nil, err
	}
	switch {
	case revision == "":
		err = c.current(req.Context())
	case minimum > 0:
		err = c.atLeast(req.Context(), minimum)
	}
	if err != nil {
		return nil, err
	}
	entry := c.live(ns, name)
	if entry == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: c.gv.Group, Resource: c.kind.GVR.Resource}, name)
	}
	return c.opened(entry)
}

func (c *collection) respondObject(w http.ResponseWriter, req *http.Request, s shape, entry *statelog.Entry) error {
	if len(entry.Data()) >= spliced && c.respondSpliced(w, req, s, entry) {
		return nil
	}
	var body []byte
	var err error
	switch {
	case s.transform == asTable:
		var t *table
		if t, err = c.newTable(req, s); err != nil {
			return err
		}
		body, err = t.object(req.Context(), entry)
	case s.transform == asPartial:
		if err = c.partialKindFits(req, false); err != nil {
			return err
		}
		if s.format != formatProtobuf {
			body = append(c.enc.partialJSON(nil, entry, s.meta), '\n')
			break
		}
		var raw []byte
		if raw, err = c.enc.partialProtobuf(entry); err == nil {
			body = envelop(s.meta.WithKind("PartialObjectMetadata"), raw)
		}
	case s.format == formatProtobuf:
		var raw []byte
		if raw, err = c.enc.protobuf(entry); err == nil {
			body = envelop(c.enc.gvk, raw)
		}
	default:
		if body, err = c.enc.appendJSON(make([]byte, 0, len(entry.Data())+48), entry); err == nil {
			body = append(body, '\n')
		}
	}
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	return respond(w, req, s, body)
}
