package write

import (
	"net/url"

	"kubus.dev/proto/apiclient"
)

// Apply is a server-side apply of object, which names apiVersion, kind and only what
// manager is to own; it takes over what others own.
func Apply(path, manager string, object any) (apiclient.Request, error) {
	r, err := request("PATCH", path, "application/apply-patch+yaml", object)
	r.Query = url.Values{"fieldManager": {manager}, "force": {"true"}}
	return r, err
}
