package gateway

import "errors"

var errNotAService = errors.New("the user is none of the cluster's services")
