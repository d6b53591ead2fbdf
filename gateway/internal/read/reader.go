package read

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"go.uber.org/zap"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Options say where objects come from.
type Options struct {
	// View gives the view that holds a resource.
	View func(proto.GroupResource) *statelog.View
	// Barrier gives a revision at or after every write acknowledged before the call.
	Barrier func(context.Context, proto.GroupResource) (uint64, error)
	// Open decrypts an object of a sealed kind; nil when there are none.
	Open func(key proto.Key, sealed []byte) ([]byte, error)
	// Shown are the collections that show more than is stored.
	Shown map[proto.GroupResource]Shown

	Logger *zap.Logger
	// CacheBytes bounds derived encodings; default 32 MiB.
	CacheBytes int
	// PageTTL is how long the pages of one list stay consistent; default 5 minutes.
	PageTTL time.Duration
	// WatchTimeout bounds a watch that names no timeout, as upstream's
	// --min-request-timeout: it ends after once to twice this time. Default 30 minutes.
	WatchTimeout time.Duration
	// Bookmarks is the time between bookmarks of a watch; default one minute.
	Bookmarks time.Duration
}

// Reader serves reads of all kinds. Safe for concurrent use.
type Reader struct {
	o     Options
	cache *cache
	pages *pages
	kinds resource.PerKind[map[schema.GroupVersion]*collection]
	// gathered is what watches hold that was not written yet.
	gathered budget
}

// New makes a Reader and registers the indexes it uses.
func New(o Options) *Reader {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	if o.PageTTL == 0 {
		o.PageTTL = 5 * time.Minute
	}
	if o.WatchTimeout == 0 {
		o.WatchTimeout = 30 * time.Minute
	}
	if o.Bookmarks == 0 {
		o.Bookmarks = time.Minute
	}
	for gr, names := range indexes {
		view := o.View(gr)
		for _, name := range names {
			view.AddIndex(gr, name, indexFunc(gr, name))
		}
	}
	return &Reader{o: o, cache: newCache(o.CacheBytes), pages: newPages(o.PageTTL), gathered: budget{most: watchMemory}}
}

// Handler serves GET and HEAD of one kind as gv: an object when the request info
// names one, else a list, or a watch when the query (or a /watch/ path) asks for it.
// The request's context carries upstream's RequestInfo.
func (r *Reader) Handler(kind *resource.Kind, gv schema.GroupVersion) http.Handler {
	c := r.collection(kind, gv)
	if c == nil {
		return http.NotFoundHandler()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := request.RequestInfoFrom(req.Context())
		if !ok {
			c.fail(w, req, apierrors.NewInternalError(errNoRequestInfo))
			return
		}
		var err error
		switch info.Verb {
		case "get":
			err = c.get(w, req, info)
		default:
			err = c.list(w, req, info)
		}
		if err != nil {
			c.fail(w, req, err)
		}
	})
}

// collection is one kind as one served version.
type collection struct {
	*Reader
	kind *resource.Kind
	gr   proto.GroupResource
	gv   schema.GroupVersion
	view *statelog.View
	enc  *encoder
	// types serve this kind; upstream's for a built-in one.
	types *resource.Machinery

	watchers atomic.Int64
}

// collection gives what reads of a kind as gv share; nil where gv is not served.
func (r *Reader) collection(kind *resource.Kind, gv schema.GroupVersion) *collection {
	return r.kinds.Of(kind, func() map[schema.GroupVersion]*collection {
		out := make(map[schema.GroupVersion]*collection, len(kind.Served))
		for _, gv := range kind.Served {
			out[gv] = &collection{Reader: r, kind: kind, gr: kind.GR(), gv: gv, view: r.o.View(kind.GR()),
				enc: newEncoder(kind, gv, r.cache), types: kind.Codec.Machinery(gv, "")}
		}
		return out
	})[gv]
}

func (c *collection) fail(w http.ResponseWriter, req *http.Request, err error) {
	responsewriters.ErrorNegotiated(err, c.types.Serializer, c.gv, w, req)
}

// current brings the view to where a read without resourceVersion must be.
func (c *collection) current(ctx context.Context) error {
	revision, err := c.o.Barrier(ctx, c.gr)
	if err != nil {
		return unavailable(err)
	}
	return unavailable(c.view.WaitFor(ctx, revision))
}

// revisionWait is how long a read waits for a resourceVersion that this gateway
// has not seen yet, as upstream's watch cache does.
const revisionWait = 3 * time.Second

// atLeast waits until the view has reached revision.
func (c *collection) atLeast(ctx context.Context, revision uint64) error {
	if c.view.Revision() >= revision {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, revisionWait)
	defer cancel()
	if err := c.view.WaitFor(ctx, revision); err != nil {
		return tooLarge(revision, c.view.Revision())
	}
	return nil
}

// opened gives an entry whose data may be shown: of a sealed kind, the original.
func (c *collection) opened(e *statelog.Entry) (*statelog.Entry, error) {
	if !c.kind.Sealed {
		return e, nil
	}
	item, err := c.cache.get(c.kind, e, formOpened, func() (cacheItem, error) {
		data, err := c.o.Open(e.Key(), e.Data())
		if err != nil {
			return cacheItem{}, err
		}
		return cacheItem{entry: statelog.NewEntry(e.Key(), e.Revision(), data, e.Deleted())}, nil
	})
	if err != nil {
		c.o.Logger.Error("a sealed object cannot be shown", zap.String("namespace", e.Key().Namespace), zap.String("name", e.Key().Name), zap.Error(err))
		return nil, apierrors.NewInternalError(err)
	}
	return item.entry, nil
}
