/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Routes of packets that the programs send themselves, remembered for a moment: a look-up in the kernel's tables is
 * most of what a packet costs. What changes there counts here within ROUTE_LIFE, well below any TCP time-out. Every
 * processor has a table of its own; two routes that share a slot take turns in it.
 */
#ifndef TPOT_ROUTE_H
#define TPOT_ROUTE_H

#define ROUTE_SLOT_BITS 10
#define ROUTE_LIFE 20 /* in steps of clock_now() */

#define ROUTE_OUTPUT 0x80000000

struct tpot_route {
	__u32 from;           /* the interface that packets come in by, or with ROUTE_OUTPUT leave by as they were routed */
	__be32 source[4];
	__be32 destination[4];
	__u32 found;          /* clock_now() */
	__u32 ifindex;        /* 0: none that the kernel would tell */
	__be32 next_hop[4];
	__u16 family;         /* AF_*, of the next hop */
	__u16 mtu;
	__be16 mac[3];        /* of the next hop; all zero: not known */
	__u16 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << ROUTE_SLOT_BITS);
	__type(key, __u32);
	__type(value, struct tpot_route);
} tpot_routes SEC(".maps");

static __always_inline struct tpot_route *route_slot(const __be32 *source, const __be32 *destination)
{
	__u32 mixed = source[0] ^ source[1] ^ source[3] ^ 31 * (destination[0] ^ destination[1] ^ destination[3]);
	__u32 slot = (mixed * 0x9e3779b1) >> (32 - ROUTE_SLOT_BITS); /* multiplicative hashing, Knuth vol. 3 section 6.4 */

	return bpf_map_lookup_elem(&tpot_routes, &slot);
}

static __always_inline int is_route(const struct tpot_route *route, __u32 from, const __be32 *source,
				    const __be32 *destination, __u32 now)
{
	return route->from == from && now - route->found < ROUTE_LIFE && same_address(route->destination, destination) &&
	       same_address(route->source, source);
}

static __always_inline void set_route_ends(struct tpot_route *route, __u32 from, const __be32 *source,
					   const __be32 *destination)
{
	route->from = from;
	copy_address(route->source, source);
	copy_address(route->destination, destination);
}

/* As it will be on the wire: a packet that is still to be cut into segments counts as one of them. */
static __always_inline __u32 segment_length(const struct __sk_buff *skb, const struct packet *p)
{
	return skb->gso_size ? (__u32)p->l4 + p->tcp_header_len - p->l3 + skb->gso_size : p->end - p->l3;
}

/*
 * Fills in the rest of a route. BPF_FIB_LKUP_RET_SUCCESS also where the neighbour is still to be found. What was not
 * found is looked for again by the next packet, except at egress, where packets then leave as they were routed.
 */
static __noinline long look_up_route(struct __sk_buff *skb, const struct packet *p, struct tpot_route *route,
				     __u32 protocol, __u32 flags)
{
	struct bpf_fib_lookup fib = { .l4_protocol = protocol };
	__u32 mtu;
	long result;

	if (!p || !route)
		return BPF_FIB_LKUP_RET_BLACKHOLE;
	fib.ifindex = skb->ifindex;
	fib.family = p->family == 4 ? 2 : 10;
	fib.tot_len = flags & BPF_FIB_LOOKUP_OUTPUT ? 0 : segment_length(skb, p);
	if (p->family == 4) {
		fib.ipv4_src = route->source[3];
		fib.ipv4_dst = route->destination[3];
	} else {
		copy_address(fib.ipv6_src, route->source);
		copy_address(fib.ipv6_dst, route->destination);
	}
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), flags);
	mtu = fib.mtu_result;
	__builtin_memset(route->mac, 0, sizeof(route->mac));
	if (result == BPF_FIB_LKUP_RET_SUCCESS) {
		__builtin_memcpy(route->mac, fib.dmac, sizeof(route->mac));
	} else if (result == BPF_FIB_LKUP_RET_NO_NEIGH) {
		bpf_check_mtu(skb, fib.ifindex, &mtu, 0, 0);
		result = BPF_FIB_LKUP_RET_SUCCESS;
	}
	int found = result == BPF_FIB_LKUP_RET_SUCCESS;

	route->found = found || (flags & BPF_FIB_LOOKUP_OUTPUT) ? p->now : p->now - ROUTE_LIFE;
	route->ifindex = found ? fib.ifindex : 0;
	route->family = fib.family;
	route->mtu = mtu > 0xffff ? 0xffff : mtu;
	copy_address(route->next_hop, fib.ipv6_dst); /* an IPv4 address is its first word */
	return result;
}

/* Whether a packet that is about to leave goes to this next hop already. */
static __always_inline int takes_route(const struct __sk_buff *skb, const struct packet *p, const struct tpot_route *route)
{
	__be16 *mac = frame_start(skb);

	return skb->ifindex == route->ifindex && p->l3 == ETH_HLEN && (void *)(mac + 3) <= frame_end(skb) &&
	       (route->mac[0] | route->mac[1] | route->mac[2]) != 0 &&
	       ((mac[0] ^ route->mac[0]) | (mac[1] ^ route->mac[1]) | (mac[2] ^ route->mac[2])) == 0;
}

static __always_inline int redirect_by(const struct tpot_route *route)
{
	struct bpf_redir_neigh neighbour = { .nh_family = route->family };

	copy_address(neighbour.ipv6_nh, route->next_hop);
	return bpf_redirect_neigh(route->ifindex, &neighbour, sizeof(neighbour), 0);
}

#endif
