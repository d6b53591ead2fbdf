module kubus.dev/cmd/kubus-keeper

go 1.26.0

require (
	golang.org/x/sys v0.49.0
	kubus.dev/services/kit v0.0.0
)

replace kubus.dev/services/kit => ../../services/kit
