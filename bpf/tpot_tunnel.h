/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* IP-in-IP (RFC 2003; RFC 2473 for IPv6), and the same in UDP: taking the outer header off with every check, and putting it on. */
#ifndef TPOT_TUNNEL_H
#define TPOT_TUNNEL_H

struct outer {
	__be32 source[4];
	__u32 length;  /* of the outer header, with that of UDP */
	__u32 payload; /* what follows it, by its own length field and present in the packet */
	struct tpot_splice *splice; /* that the inner segment belongs to; null: none */
	__be16 source_port; /* of UDP */
	__u8 udp;
	__u8 returned; /* it comes from a node that we are a source to */
};

/* Whether an inner IPv4 header is whole, no fragment, and in front of a TCP segment; fills the packet. */
static __always_inline __u32 check_inner4(const struct ipv4 *ip, __u32 available, struct packet *p)
{
	__u32 header = (ip->version_ihl & 0xf) << 2, total = bpf_ntohs(ip->total_length);

	if (available < IPV4_HLEN || ip->version_ihl >> 4 != 4 || header < IPV4_HLEN || total > available || total < header)
		return TPOT_R_DROP_DECAP_MALFORMED;
	if (ip->fragment & bpf_htons(IPV4_FRAGMENT_MASK))
		return TPOT_R_DROP_DECAP_MALFORMED;
	if (ip->protocol != IPPROTO_TCP_)
		return TPOT_R_DROP_DECAP_NOT_TCP;
	p->l4 = p->l3 + header;
	p->end = p->l3 + total;
	map_ipv4(p->flow.source, ip->source);
	map_ipv4(p->flow.destination, ip->destination);
	return TPOT_R_NONE;
}

static __always_inline __u32 check_inner6(const struct ipv6 *ip, __u32 available, struct packet *p)
{
	__u32 payload = bpf_ntohs(ip->payload_length);

	if (available < IPV6_HLEN || (ip->version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000) ||
	    payload > available - IPV6_HLEN)
		return TPOT_R_DROP_DECAP_MALFORMED;
	if (ip->next_header != IPPROTO_TCP_)
		return TPOT_R_DROP_DECAP_NOT_TCP;
	p->l4 = p->l3 + IPV6_HLEN;
	p->end = p->l4 + payload;
	copy_address(p->flow.source, ip->source);
	copy_address(p->flow.destination, ip->destination);
	return TPOT_R_NONE;
}

static __always_inline __u32 check_inner_ip(struct __sk_buff *skb, __u32 available, struct packet *p)
{
	__u64 l3 = p->l3 & 0xff;

	if (!ensure_linear(skb, l3 + (p->family == 4 ? IPV4_HLEN : IPV6_HLEN)))
		return TPOT_R_DROP_DECAP_MALFORMED;
	void *at = frame_start(skb) + l3, *end = frame_end(skb);

	if (p->family == 4)
		return at + IPV4_HLEN > end ? TPOT_R_DROP_DECAP_MALFORMED : check_inner4(at, available, p);
	return at + IPV6_HLEN > end ? TPOT_R_DROP_DECAP_MALFORMED : check_inner6(at, available, p);
}

/* Whether the option area is legal without a walk over it: there is none, or it holds the usual timestamps. */
static __always_inline int has_usual_options(struct __sk_buff *skb, const struct packet *p)
{
	void *options = frame_start(skb) + (p->l4 & 0xff) + TCP_HLEN;

	if (p->tcp_header_len == TCP_HLEN)
		return 1;
	return p->tcp_header_len == USUAL_HLEN && options + sizeof(__be32) <= frame_end(skb) &&
	       *(__be32 *)options == USUAL_OPTIONS;
}

static __always_inline __u32 check_inner_tcp(struct __sk_buff *skb, struct packet *p, const struct tpot_config *config)
{
	struct option_scan scan;

	if (p->l4 + TCP_HLEN > p->end || !parse_tcp(skb, p) || p->l4 + p->tcp_header_len > p->end)
		return TPOT_R_DROP_DECAP_MALFORMED;
	if (has_usual_options(skb, p))
		return TPOT_R_NONE;
	if (!read_options(skb, p, config, &scan))
		return TPOT_R_DROP_DECAP_MALFORMED;
	return scan.legal ? TPOT_R_NONE : TPOT_R_DROP_DECAP_OPTIONS;
}

/* Rule 7: only what a known connection's own source sent comes out of a tunnel. TPOT_R_NONE, or why it does not. */
static __always_inline __u32 check_known(struct __sk_buff *skb, const struct packet *p, struct outer *outer)
{
	struct tpot_splice *splice = outer->splice;

	if (splice && !(splice->flags & TPOT_SPLICE_HOLD)) {
		if (!(splice->flags & TPOT_SPLICE_TUNNELLED) || (p->flags & TCP_SYN))
			return TPOT_R_DROP_DECAP_UNKNOWN;
		return same_address(splice->outer_source, outer->source) ? TPOT_R_NONE : TPOT_R_DROP_DECAP_SOURCE;
	}
	struct tpot_taken *taken = find_taken(&p->flow);

	/* IPv4-mapped addresses in an IPv6 packet: the tables would take it for an IPv4 one. */
	if (p->family == 6 && (is_mapped_ipv4(p->flow.source) || is_mapped_ipv4(p->flow.destination)))
		return TPOT_R_DROP_DECAP_UNKNOWN;
	/* A SYN never travels in the tunnel, and a connection that is plain has none. */
	if (!taken || taken->state == TPOT_STATE_EDGE || taken->state == TPOT_STATE_PLAIN || (p->flags & TCP_SYN))
		return TPOT_R_DROP_DECAP_UNKNOWN;
	if (!same_address(taken->outer_source, outer->source))
		return TPOT_R_DROP_DECAP_SOURCE;
	taken->state = TPOT_STATE_TUNNELLED;
	taken->udp = outer->udp;
	follow_source(skb, p, taken, payload_of(p));
	return TPOT_R_NONE;
}

/*
 * Whether it comes from the node that the connection is pinned to: by a return tunnel, to the address that sends there. It
 * would be let in without a tunnel, too, for any segment towards a source is a plain one.
 */
static __always_inline int is_returned(const struct packet *p, const struct outer *outer, const __be32 *outer_destination,
				       const struct tpot_config *config)
{
	struct tpot_tunnel *tunnel;
	struct tpot_flow out;

	if (!(config->capabilities & TPOT_CAPABILITY_RETURN) || (p->flags & TCP_SYN) ||
	    !same_address(p->flow.destination, outer_destination))
		return 0;
	if (p->family == 6 && (is_mapped_ipv4(p->flow.source) || is_mapped_ipv4(p->flow.destination)))
		return 0;
	flow_reverse(&out, &p->flow);
	tunnel = bpf_map_lookup_elem(&tpot_tunnels, &out);
	if (!tunnel)
		tunnel = bpf_map_lookup_elem(&tpot_tunnels_closed, &out);
	if (!tunnel || tunnel->plain || tunnel->back || !same_address(tunnel->remote, outer->source) ||
	    (outer->udp && tunnel->udp_port != outer->source_port))
		return 0;
	/* What is for a connection that was taken comes in the tunnel of its source (rule 7). */
	return !(outer->splice && (outer->splice->flags & TPOT_SPLICE_TUNNELLED)) && !find_taken(&p->flow);
}

/* The packet becomes the inner one, where it is. */
static __noinline int judge_inner(struct __sk_buff *skb, struct packet *p, struct outer *outer)
{
	struct tpot_config *config = config_get();
	__be32 destination[4];
	__u32 reason;

	if (!config || !p || !outer)
		return TPOT_R_DROP_DECAP_MALFORMED;
	copy_address(destination, p->flow.destination);
	p->l3 = p->l4;
	reason = check_inner_ip(skb, outer->payload, p);
	if (reason == TPOT_R_NONE)
		reason = check_inner_tcp(skb, p, config);
	if (reason != TPOT_R_NONE)
		return reason;
	outer->splice = find_splice(&p->flow, config);
	reason = p->ours ? check_known(skb, p, outer) : TPOT_R_DROP_DECAP_UNKNOWN;
	if (reason != TPOT_R_DROP_DECAP_UNKNOWN)
		return reason;
	outer->returned = is_returned(p, outer, destination, config);
	return outer->returned ? TPOT_R_NONE : reason;
}

/* What the outer header says; 0 when it announces more than there is. */
static __always_inline int read_outer(const struct __sk_buff *skb, const struct packet *p, struct outer *outer)
{
	copy_address(outer->source, p->flow.source);
	outer->length = p->l4 - p->l3;
	if (p->end < p->l4 || p->end > skb->len)
		return 0;
	outer->payload = p->end - p->l4;
	return 1;
}

/* Goes on behind the UDP header; 0 when that does not fit. Its checksum may be 0 or anything: see store_udp. */
static __always_inline int read_outer_udp(struct __sk_buff *skb, struct packet *p, struct outer *outer)
{
	__u32 length;
	struct udp udp;

	if (outer->payload < UDP_HLEN || bpf_skb_load_bytes(skb, p->l4, &udp, sizeof(udp)))
		return 0;
	length = bpf_ntohs(udp.length);
	if (length < UDP_HLEN || length > outer->payload)
		return 0;
	outer->udp = 1;
	outer->source_port = udp.source;
	outer->length += UDP_HLEN;
	outer->payload = length - UDP_HLEN;
	p->l4 += UDP_HLEN;
	return 1;
}

/*
 * The tunnel that a tunnelled segment of a spliced connection goes on in; null when that leg has none, or one of another
 * kind: the node joins no legs of both kinds. Taking the outer header off and putting one on again would move the frame
 * twice, and the kernel refuses the latter: a packet that has been encapsulated is marked so for good.
 */
static __always_inline struct tpot_tunnel *next_tunnel(const struct packet *p, const struct outer *outer)
{
	struct tpot_splice *splice = outer->splice;
	struct tpot_tunnel *tunnel;

	if ((splice->flags & TPOT_SPLICE_HOLD) || outer->length != outer_room(p->family, outer->udp) ||
	    tables_unused(TPOT_UNUSED_TUNNELS))
		return 0;
	tunnel = bpf_map_lookup_elem(&tpot_tunnels, &splice->out);
	return tunnel && !tunnel->plain && tunnel->udp == outer->udp ? tunnel : 0;
}

/* Not inlined: with it, the stack of its caller is too large. */
static __noinline int deliver_returned(struct __sk_buff *skb, const struct packet *p)
{
	struct tpot_config *config = config_get();

	return config && p ? deliver_to_leg(skb, p, config) : TC_ACT_UNSPEC;
}

/* A tunnelled segment that has passed every check: it goes on spliced, or to its socket. */
static __noinline int accept_tunnelled(struct __sk_buff *skb, struct packet *p, const struct outer *outer)
{
	struct tpot_config *config = config_get();
	struct tpot_splice *splice;
	int verdict;

	if (!config || !p || !outer)
		return TC_ACT_SHOT;
	count(outer->udp ? TPOT_R_DECAP_UDP_OK : TPOT_R_DECAP_OK);
	p->tunnelled = 1;
	splice = outer->splice;
	if (splice) {
		struct tpot_tunnel *tunnel = next_tunnel(p, outer);

		p->outer = outer->length;
		verdict = tunnel ? handle_spliced(skb, p, splice, tunnel) : SPLICE_GO_ON;
		if (verdict != SPLICE_GO_ON)
			return verdict;
	}
	if (bpf_skb_adjust_room(skb, -(__s32)outer->length, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO)) {
		count(TPOT_R_DROP_DECAP_MALFORMED);
		return TC_ACT_SHOT;
	}
	if ((p->traffic_class & ECN_MASK) == ECN_CE)
		bpf_skb_ecn_set_ce(skb); /* RFC 6040 section 4.2 */
	p->outer = 0;
	p->l3 -= outer->length;
	p->l4 -= outer->length;
	p->end -= outer->length;
	if (splice) {
		verdict = handle_spliced(skb, p, splice, 0);
		if (verdict != SPLICE_GO_ON)
			return verdict;
	}
	return outer->returned ? deliver_returned(skb, p) : deliver_segment(skb, p, config);
}

/*
 * Whether a UDP packet that is none of a connection's is for somebody else here. As long as the node runs it holds the
 * port with a socket that has its mark; afterwards the programs may stand longer than that (spliced connections).
 */
static __noinline int is_port_of_another(struct __sk_buff *skb, const struct outer *outer, __u32 family)
{
	struct tpot_config *config = config_get();
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int another;

	if (!config || !outer)
		return 0;
	if (family == 4) {
		tuple.ipv4.saddr = outer->source[3];
		tuple.ipv4.daddr = config->address4;
		tuple.ipv4.sport = outer->source_port;
		tuple.ipv4.dport = config->udp_port;
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		copy_address(tuple.ipv6.saddr, outer->source);
		copy_address(tuple.ipv6.daddr, config->address6);
		tuple.ipv6.sport = outer->source_port;
		tuple.ipv6.dport = config->udp_port;
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 0;
	another = sk->mark != config->mark;
	bpf_sk_release(sk);
	return another;
}

/* A tunnel packet: its inner segment is delivered. One to our end of a tunnel ends here else, with a counter. */
static __noinline int handle_tunnelled(struct __sk_buff *skb, struct packet *p)
{
	__u32 reason = TPOT_R_DROP_DECAP_MALFORMED; /* a fragment, or cut */
	struct outer outer = {};
	__u32 udp;

	if (!p)
		return TC_ACT_UNSPEC;
	udp = p->protocol == IPPROTO_UDP_;
	if (p->sound && read_outer(skb, p, &outer) && (!udp || read_outer_udp(skb, p, &outer)))
		reason = judge_inner(skb, p, &outer);
	if (reason == TPOT_R_NONE)
		return accept_tunnelled(skb, p, &outer);
	if (!p->ours || (udp && is_port_of_another(skb, &outer, p->family)))
		return TC_ACT_UNSPEC;
	count(reason);
	return TC_ACT_SHOT;
}

/* For a packet of many segments, which the kernel or the card still has to cut: what each gets in front. */
static __always_inline __u64 room_flags(__u64 family_flag, const struct tpot_tunnel *tunnel)
{
	return family_flag | BPF_F_ADJ_ROOM_FIXED_GSO | (tunnel->udp ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : 0);
}

/*
 * RFC 2003 section 3.1. The outer source is the inner one, of a return tunnel the node; DF always, so a small MTU is told,
 * not hidden.
 */
static __always_inline int push_outer4(struct __sk_buff *skb, const struct packet *p, const struct tpot_tunnel *tunnel)
{
	__u32 room = outer_room(4, tunnel->udp), length = p->end - p->l3 + room;
	struct ipv4 outer = {};

	if (bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, room_flags(BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, tunnel)))
		return -1;
	outer.version_ihl = 0x45;
	outer.tos = p->traffic_class; /* DSCP and ECN, RFC 6040 section 4.1 normal mode */
	outer.total_length = bpf_htons(length);
	outer.fragment = bpf_htons(IPV4_DF);
	outer.ttl = OUTER_TTL;
	outer.protocol = outer_protocol(p, tunnel);
	outer.source = outer_source4(&p->flow, tunnel);
	outer.destination = tunnel->remote[3];
	outer.checksum = ipv4_checksum(&outer);
	if (tunnel->udp && store_udp(skb, p->l3 + IPV4_HLEN, &p->flow, tunnel, length - IPV4_HLEN))
		return -1;
	return bpf_skb_store_bytes(skb, p->l3, &outer, sizeof(outer), 0);
}

static __always_inline int push_outer6(struct __sk_buff *skb, const struct packet *p, const struct tpot_tunnel *tunnel)
{
	__u32 room = outer_room(6, tunnel->udp), length;
	struct ipv6 inner, outer = {};

	if (bpf_skb_load_bytes(skb, p->l3, &inner, sizeof(inner)))
		return -1;
	if (bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, room_flags(BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, tunnel)))
		return -1;
	length = bpf_ntohs(inner.payload_length) + room;
	outer.version_class_label = inner.version_class_label;
	outer.payload_length = bpf_htons(length);
	outer.next_header = outer_protocol(p, tunnel);
	outer.hop_limit = OUTER_TTL;
	outer_source6(outer.source, &p->flow, tunnel);
	copy_address(outer.destination, tunnel->remote);
	if (tunnel->udp && store_udp(skb, p->l3 + IPV6_HLEN, &p->flow, tunnel, length))
		return -1;
	return bpf_skb_store_bytes(skb, p->l3, &outer, sizeof(outer), 0);
}

/* A spliced segment that is larger than this machine's own link takes with the outer header: see drop_too_big. */
static __noinline int is_too_big_for_tunnel(const struct packet *p, __u32 mtu)
{
	struct tpot_splice *splice = p ? find_splice_by_out(&p->flow) : 0;

	return splice && drop_too_big(p, splice, mtu) == TC_ACT_SHOT;
}

/*
 * The packet was routed towards D; its outer header wants the route towards the node. Where the kernel tells the
 * route (forwarding hosts), the packet takes it, unless it is on it anyway. Elsewhere it leaves as routed: the first
 * router knows the way.
 */
static __always_inline int route_outer(struct __sk_buff *skb, struct packet *p, const struct tpot_tunnel *tunnel)
{
	struct tpot_route *route = route_slot(p->flow.source, tunnel->remote);
	__u32 from = skb->ifindex | ROUTE_OUTPUT;

	if (!route)
		return TC_ACT_OK;
	p->now = clock_now(bpf_ktime_get_coarse_ns());
	if (!is_route(route, from, p->flow.source, tunnel->remote, p->now)) {
		set_route_ends(route, from, p->flow.source, tunnel->remote);
		look_up_route(skb, p, route, outer_protocol(p, tunnel), BPF_FIB_LOOKUP_OUTPUT);
	}
	if (route->mtu != 0 && segment_length(skb, p) + outer_room(p->family, tunnel->udp) > route->mtu &&
	    is_too_big_for_tunnel(p, route->mtu - outer_room(p->family, tunnel->udp)))
		return TC_ACT_SHOT;
	return route->ifindex == 0 || takes_route(skb, p, route) ? TC_ACT_OK : redirect_by(route);
}

static __always_inline struct tpot_tunnel *find_tunnel(struct __sk_buff *skb, const struct packet *p)
{
	struct tpot_tunnel *tunnel = bpf_map_lookup_elem(&tpot_tunnels, &p->flow);

	/* What is left of a closed connection (TIME_WAIT) sends bare segments only. */
	if (!tunnel && skb->len <= (__u32)p->l4 + p->tcp_header_len)
		tunnel = bpf_map_lookup_elem(&tpot_tunnels_closed, &p->flow);
	return tunnel && (!tunnel->plain || tunnel->back) ? tunnel : 0;
}

/* A segment of a pinned connection goes to its node; everything else leaves as it came. */
static __noinline int send_tunnelled(struct __sk_buff *skb, struct packet *p)
{
	struct tpot_tunnel *found, tunnel;

	if (!p)
		return TC_ACT_UNSPEC;
	/* A SYN never travels in the tunnel: it is a new connection on an old port pair, maybe of a program that asks nobody. */
	if (p->flags & TCP_SYN) {
		bpf_map_delete_elem(&tpot_tunnels_closed, &p->flow);
		return TC_ACT_UNSPEC;
	}
	found = find_tunnel(skb, p);
	if (!found)
		return TC_ACT_UNSPEC;
	if (found->back) {
		int verdict = is_only_passing(skb, p) ? TC_ACT_UNSPEC : prepare_return(skb, p, found);

		if (verdict != TC_ACT_OK)
			return verdict;
	}
	tunnel = *found;
	if (p->family == 4 ? push_outer4(skb, p, &tunnel) : push_outer6(skb, p, &tunnel)) {
		count(TPOT_R_ENCAP_FAILED);
		return TC_ACT_SHOT;
	}
	count(tunnel.udp ? TPOT_R_ENCAP_UDP_OK : TPOT_R_ENCAP_OK);
	return route_outer(skb, p, &tunnel);
}

#endif
