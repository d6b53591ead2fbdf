package rule

// rejections refuse a packet. A reset is as clear to a TCP client as the ICMP
// message, and the kernel does not limit its rate to one a second.
var rejections = []string{
	"-p tcp -j REJECT --reject-with tcp-reset",
	"-j REJECT --reject-with icmp-port-unreachable",
}

// base gives the chains that do not depend on any port, in full.
func (o *Options) base() map[chainKey][]string {
	p := o.Prefix
	services := []string{}
	for _, cidr := range o.ServiceCIDRs {
		services = append(services, "-d "+cidr.String()+" -j "+p+chainClusterIP)
	}
	services = append(services,
		"-j "+p+chainExternal,
		// Not on loopback: that would need route_localnet, which opens local
		// daemons to the network.
		"! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j "+p+chainNodePort)

	refuse := []string{}
	for _, cidr := range o.ServiceCIDRs {
		for _, reject := range rejections {
			refuse = append(refuse, "-d "+cidr.String()+` -m comment --comment "no Service serves this" `+reject)
		}
	}
	newOnes := "-m conntrack --ctstate NEW -j " + p + chainReject
	forward := append([]string{newOnes}, refuse...)
	if o.PodCIDR.IsValid() {
		// Answers conntrack does not know are not translated back; their
		// receiver would reset a connection it never opened.
		forward = append(forward, "-s "+o.PodCIDR.String()+" -m conntrack --ctstate INVALID -j DROP")
	}
	forward = append(forward, "-m mark --mark "+o.markMatch()+" -j ACCEPT")
	for _, cidr := range o.ServiceCIDRs {
		forward = append(forward, "-m conntrack --ctorigdst "+cidr.String()+" --ctstate RELATED,ESTABLISHED -j ACCEPT")
	}

	return map[chainKey][]string{
		{Nat, chainServices}: services,
		{Nat, chainMark}:     {"-j MARK --or-mark " + o.mark()},
		{Nat, chainPost}: {
			"-m conntrack --ctstate DNAT -j " + p + chainHairpin,
			"-m mark ! --mark " + o.markMatch() + " -j RETURN",
			"-j MARK --xor-mark " + o.mark(),
			"-j MASQUERADE --random-fully",
		},
		{Nat, chainClusterIP}:  nil,
		{Nat, chainExternal}:   nil,
		{Nat, chainNodePort}:   nil,
		{Nat, chainHairpin}:    nil,
		{Filter, chainReject}:  nil,
		{Filter, chainInput}:   {newOnes},
		{Filter, chainForward}: forward,
		{Filter, chainOutput}:  append([]string{newOnes}, refuse...),
	}
}
