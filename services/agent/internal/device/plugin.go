package device

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Limits of calls of plugins, as kubelet's.
const (
	connectLimit  = 10 * time.Second
	preStartLimit = pluginapi.KubeletPreStartContainerRPCTimeoutInSecs * time.Second
)

// plugin is one that has registered.
type plugin struct {
	resource, socket string
	options          *pluginapi.DevicePluginOptions
	conn             *grpc.ClientConn
	api              pluginapi.DevicePluginClient
}

// connect asks a plugin for its options.
func connect(ctx context.Context, resource, socket string) (*plugin, error) {
	conn, err := grpc.NewClient("passthrough:///"+socket, grpc.WithAuthority("localhost"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", address)
		}))
	if err != nil {
		return nil, fmt.Errorf("failed to dial device plugin: %w", err)
	}
	p := &plugin{resource: resource, socket: socket, conn: conn, api: pluginapi.NewDevicePluginClient(conn)}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	p.options, err = p.api.GetDevicePluginOptions(ctx, &pluginapi.Empty{}, grpc.WaitForReady(true)) // it may serve only after it registered
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("failed to get device plugin options: %w", err)
	}
	return p, nil
}

// watch hands every list of devices to take, until the plugin or ctx ends.
func (p *plugin) watch(ctx context.Context, take func([]*pluginapi.Device)) error {
	stream, err := p.api.ListAndWatch(ctx, &pluginapi.Empty{})
	for err == nil {
		var list *pluginapi.ListAndWatchResponse
		if list, err = stream.Recv(); err == nil {
			take(list.Devices)
		}
	}
	return err
}

func (p *plugin) allocate(ctx context.Context, ids []string) (*pluginapi.ContainerAllocateResponse, error) {
	answer, err := p.api.Allocate(ctx, &pluginapi.AllocateRequest{ContainerRequests: []*pluginapi.ContainerAllocateRequest{{DevicesIds: ids}}})
	if err != nil {
		return nil, err
	}
	if len(answer.ContainerResponses) == 0 {
		return nil, fmt.Errorf("no containers return in allocation response %v", answer)
	}
	return answer.ContainerResponses[0], nil
}

func (p *plugin) preferred(ctx context.Context, available, must []string, size int) ([]string, error) {
	answer, err := p.api.GetPreferredAllocation(ctx, &pluginapi.PreferredAllocationRequest{ContainerRequests: []*pluginapi.ContainerPreferredAllocationRequest{
		{AvailableDeviceIDs: available, MustIncludeDeviceIDs: must, AllocationSize: int32(size)}}})
	if err != nil || len(answer.ContainerResponses) == 0 {
		return nil, err
	}
	return answer.ContainerResponses[0].DeviceIDs, nil
}

func (p *plugin) preStart(ctx context.Context, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, preStartLimit)
	defer cancel()
	_, err := p.api.PreStartContainer(ctx, &pluginapi.PreStartContainerRequest{DevicesIds: ids})
	return err
}
