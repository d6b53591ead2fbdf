module kubus.dev/cmd/kubus

go 1.26.0

require (
	github.com/spf13/cobra v1.10.2
	go.uber.org/zap v1.28.0
	go.yaml.in/yaml/v3 v3.0.4
	golang.org/x/sys v0.49.0
	golang.org/x/sync v0.24.0
	kubus.dev/cmd/kubus-keeper v0.0.0
	kubus.dev/proto v0.0.0
	kubus.dev/proto/store v0.0.0
	kubus.dev/services/kit v0.0.0
)

replace kubus.dev/cmd/kubus-keeper => ../kubus-keeper

replace kubus.dev/proto => ../../proto

replace kubus.dev/proto/store => ../../proto/store

replace kubus.dev/services/kit => ../../services/kit
