package launch

import (
	"net"
	"strconv"
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

func hostPort(ip string, port int32) string { return net.JoinHostPort(ip, itoa(port)) }
