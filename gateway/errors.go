package gateway

import "errors"

var (
	errNotAService = errors.New("the user is none of the cluster's services")
	errNotItsFence = errors.New("the fence is not the user's to take")
)
