package proto

// Kind classifies an error that crosses the bus. It mirrors the reasons of
// Kubernetes' metav1.Status; only the gateway turns kinds into HTTP.
type Kind string

const (
	NotFound        Kind = "NotFound"
	AlreadyExists   Kind = "AlreadyExists"
	Conflict        Kind = "Conflict"
	Invalid         Kind = "Invalid"
	Forbidden       Kind = "Forbidden"
	Expired         Kind = "Expired"
	TooManyRequests Kind = "TooManyRequests"
	Timeout         Kind = "Timeout"
	Unavailable     Kind = "ServiceUnavailable"
	Internal        Kind = "InternalError"
)
