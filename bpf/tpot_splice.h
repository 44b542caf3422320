/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Joined connections: a segment of one leg is mapped onto the other and leaves at once. splice/mapping.ts is the
 * reference for what becomes of a segment.
 *
 *   arriving flow ─▶ tpot_splices ─┬─ HOLD    ─▶ data is dropped, the rest goes to the socket
 *                                  ├─ ended, and a SYN ─▶ forgotten: a new connection
 *                                  └─ cut what was relayed ─▶ map ─▶ route ─▶ tc egress, which may encapsulate
 */
#ifndef TPOT_SPLICE_H
#define TPOT_SPLICE_H

/* No TC_ACT_*: the packet is treated as if there were no splice. */
#define SPLICE_GO_ON 100
/* TCP header and payload: below this a path is not followed. Tunnels on links of 576 bytes have 536. */
#define MIN_SEGMENT 512

/* Nor is this: the segment is as it came, and larger than the other leg takes. */
#define SPLICE_TOO_BIG 101

/* Not from the wire: a mark that only this program sets, with bytes of payload in its lower half. */
#define PIECE_MARK 0x55500000
#define PIECE_MASK 0xffff0000

static __always_inline int is_piece(const struct __sk_buff *skb)
{
	return (skb->mark & PIECE_MASK) == PIECE_MARK;
}

static __always_inline int drop_spliced(__u32 reason)
{
	count(reason);
	return TC_ACT_SHOT;
}

/*
 * A segment that is larger than the other leg takes (tpot_fit.h). TC_ACT_OK: it has been made to fit. Not static, so
 * that the verifier looks at it once and not at every place that leads here.
 */
__noinline int fit_segment(struct __sk_buff *skb, struct packet *p, struct tpot_splice *splice);

/* Rule 8 of a connection that has its socket yet: a plain segment of a tunnelled one is none of it. */
static __noinline int is_outside_its_tunnel(const struct packet *p)
{
	struct tpot_taken *taken;
	struct tpot_flow flow;

	if (!p || p->tunnelled)
		return 0;
	flow = p->flow; /* verifiers of before Linux 6.2 want a key on the stack */
	taken = find_taken(&flow);
	return taken && taken->state == TPOT_STATE_TUNNELLED;
}

/*
 * A HOLD entry outlives a node that is killed between two steps: it counts only while there is a socket. What a
 * sender sends again is dropped, so that the receive queue stays as it is; ACKs empty the send queue, and a RST
 * is the end of the hand-over.
 */
static __always_inline int hold_segment(struct __sk_buff *skb, const struct packet *p)
{
	if ((p->flags & (TCP_SYN | TCP_RST)) || !is_open(connection_state(skb, p)))
		return SPLICE_GO_ON;
	if ((payload_of(p) == 0 && !(p->flags & TCP_FIN)) || is_outside_its_tunnel(p))
		return SPLICE_GO_ON;
	keep_segment(skb, p);
	count(TPOT_R_DROP_SPLICE_HOLD);
	return TC_ACT_SHOT;
}

/* Null for most packets, and where nothing is spliced at no cost. */
static __always_inline struct tpot_splice *find_splice(const struct tpot_flow *flow, const struct tpot_config *config)
{
	return config && (config->flags & TPOT_FLAG_SPLICING) ? bpf_map_lookup_elem(&tpot_splices, flow) : 0;
}

/* Whether the connection whose segments arrive as this flow has left its socket. */
static __always_inline int is_joined(const struct tpot_flow *flow)
{
	struct tpot_splice *splice = find_splice(flow, config_get());

	return splice && !(splice->flags & TPOT_SPLICE_HOLD);
}

/* The entry of the segments that leave as this flow; null: they are of no spliced connection. */
static __always_inline struct tpot_splice *find_splice_by_out(const struct tpot_flow *out)
{
	struct tpot_splice *other;
	struct tpot_flow key;

	flow_reverse(&key, out);
	other = find_splice(&key, config_get());
	if (!other || (other->flags & TPOT_SPLICE_HOLD))
		return 0;
	flow_reverse(&key, &other->out);
	return bpf_map_lookup_elem(&tpot_splices, &key);
}

static __always_inline void forget_direction(const struct tpot_flow *flow, const struct tpot_flow *out)
{
	struct tpot_splice *splice = bpf_map_lookup_elem(&tpot_splices, flow);

	if (splice && splice->counted)
		client_left(flow);
	if (bpf_map_delete_elem(&tpot_tunnels, out) == 0)
		add_tunnels(-1);
	bpf_map_delete_elem(&tpot_splices, flow);
}

/* Both entries go, with the tunnel of a leg that had one. */
static __always_inline void forget_both(const struct tpot_flow *flow, const struct tpot_splice *splice)
{
	struct tpot_flow out = splice->out, back, source;

	flow_reverse(&back, &out);
	flow_reverse(&source, flow);
	forget_direction(flow, &out);
	forget_direction(&back, &source);
}

/* A new connection on the ports of one that is over. */
static __noinline int forget_if_over(const struct packet *p, const struct tpot_splice *splice)
{
	struct tpot_splice *other;

	if (!p || !splice)
		return 0;
	other = other_direction(splice);
	if (other && !is_over(splice, other))
		return 0;
	forget_both(&p->flow, splice);
	count(TPOT_R_SPLICE_FORGOTTEN);
	return 1;
}

/* What is cut is nothing that a TCP would take. */
static __always_inline int is_whole(const struct __sk_buff *skb, const struct packet *p)
{
	return (__u32)p->l4 + p->tcp_header_len <= p->end && p->end <= skb->len;
}

/* Whether this SYN (none comes by tunnel) begins a connection on the ports of one that is over. */
static __always_inline int is_new_connection(const struct __sk_buff *skb, const struct packet *p,
					     const struct tpot_splice *splice)
{
	return (p->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && !(splice->flags & TPOT_SPLICE_HOLD) && is_whole(skb, p) &&
	       forget_if_over(p, splice);
}

static __always_inline __u32 ip_header_of(const struct packet *p)
{
	return p->family == 4 ? IPV4_HLEN : IPV6_HLEN;
}

/* `mtu`: for packets without an outer header; 0: not known. Whether it says anything new. */
static __always_inline int lower_max_segment(struct tpot_splice *splice, const struct packet *p, __u32 mtu)
{
	__u32 segment;

	if (mtu == 0)
		return 0;
	segment = mtu - ip_header_of(p);
	segment = segment < MIN_SEGMENT ? MIN_SEGMENT : segment;
	if (segment >= splice->max_segment)
		return 0;
	splice->max_segment = segment;
	splice->too_big = 0;
	return 1;
}

/*
 * What this machine's own route does not take. The segment has been mapped and is lost, as it would be in a router; the
 * next one is too large for `splice` before that, and its sender is told.
 */
static __noinline int drop_too_big(const struct packet *p, struct tpot_splice *splice, __u32 mtu)
{
	if (p && splice)
		lower_max_segment(splice, p, mtu);
	return drop_spliced(TPOT_R_DROP_SPLICE_TOO_BIG);
}

/*
 * Sends a packet towards `destination`; `splice`: that its segment is of, null for an error. Not through the routing
 * code: a packet with one of our own addresses as its source would be a martian there.
 */
static __always_inline int route_spliced(struct __sk_buff *skb, const struct packet *p, struct tpot_splice *splice,
					 const __be32 *source, const __be32 *destination, __u32 protocol)
{
	struct tpot_route *route = route_slot(source, destination);

	if (!route)
		return TC_ACT_SHOT;
	if (!is_route(route, skb->ifindex, source, destination, p->now)) {
		set_route_ends(route, skb->ifindex, source, destination);
		long result = look_up_route(skb, p, route, protocol, 0);

		if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_FRAG_NEEDED)
			return drop_spliced(TPOT_R_DROP_SPLICE_NO_ROUTE);
	}
	if (segment_length(skb, p) > route->mtu)
		return drop_too_big(p, splice, route->mtu - p->outer);
	if (p->l3 == 0 && bpf_skb_change_head(skb, ETH_HLEN, 0)) /* the redirect wants room for a header */
		return drop_spliced(TPOT_R_DROP_SPLICE_FAILED);
	count(protocol == IPPROTO_ICMP_ || protocol == IPPROTO_ICMPV6_ ? TPOT_R_SPLICE_TOLD : TPOT_R_SPLICE_FORWARDED);
	return redirect_by(route);
}

/* Maps a segment in place, `cut`: less what was relayed. TC_ACT_OK: to be sent. */
static __always_inline int map_spliced(struct __sk_buff *skb, struct packet *p, struct tpot_splice *splice, int *cut)
{
	__u32 payload, reason;
	__u64 now;

	if (!is_whole(skb, p))
		return SPLICE_GO_ON;
	if (splice->flags & TPOT_SPLICE_HOLD)
		return hold_segment(skb, p);
	/* Rule 8. A SYN never travels in the tunnel; mapped, it meets the end that can tell whether it is genuine. */
	if ((splice->flags & TPOT_SPLICE_TUNNELLED) && !p->tunnelled && !(p->flags & TCP_SYN)) {
		count(TPOT_R_PASS_PLAIN_OF_TUNNELLED);
		return TC_ACT_UNSPEC;
	}
	payload = payload_of(p);
	if (p->tcp_header_len + (skb->gso_size ? skb->gso_size : payload) > splice->max_segment)
		return SPLICE_TOO_BIG;
	if ((__s32)(p->seq - splice->base) < 0 && splice->bytes < TPOT_BASE_HOLDS &&
	    (payload > 0 || (p->flags & TCP_FIN))) {
		if (!cut_segment(skb, p, payload))
			return drop_spliced(TPOT_R_DROP_SPLICE_FAILED);
		payload = 0;
		*cut = 1;
	}
	reason = rewrite_headers(skb, p, splice);
	if (reason == OPTIONS_LEFT)
		reason = rewrite_options(skb, p, splice) ? TPOT_R_NONE : TPOT_R_DROP_SPLICE_FAILED;
	if (reason != TPOT_R_NONE)
		return drop_spliced(reason);
	if ((splice->flags & (TPOT_SPLICE_PEER_FIN | TPOT_SPLICE_TAPPED | TPOT_SPLICE_DOUBTFUL)) ||
	    (p->flags & (TCP_FIN | TCP_RST))) {
		follow_end(p, splice, payload);
		if (splice->flags & TPOT_SPLICE_TAPPED)
			tap_segment(skb, p, splice);
	}
	if ((splice->flags & TPOT_SPLICE_RETURNS) && payload > 0 && (__s32)(p->seq - splice->sent) < 0) {
		int what = note_sent_again(p, splice, payload);

		if (what)
			note_stall(what & STALL_REVERSED ? &p->flow : &splice->out, what);
	}
	splice->sent = p->seq + payload;
	if (p->flags & TCP_ACK)
		splice->acknowledged = p->ack;
	splice->packets += 1;
	splice->bytes += payload;
	now = bpf_ktime_get_coarse_ns();
	splice->seen_ns = now;
	p->now = clock_now(now);
	return TC_ACT_OK;
}

/* The header of a tunnel that a segment stays in; it keeps its class, and a CE mark with it. */
static __always_inline int renew_outer_ip(struct __sk_buff *skb, const struct packet *p, __u32 l3,
					  const struct tpot_flow *out, const struct tpot_tunnel *tunnel)
{
	if (p->family == 4) {
		struct ipv4 ip;

		if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)))
			return -1;
		ip.total_length = bpf_htons(p->end - l3); /* shorter, where a segment was cut */
		ip.id = 0;
		ip.fragment = bpf_htons(IPV4_DF);
		ip.ttl = OUTER_TTL;
		ip.source = outer_source4(out, tunnel);
		ip.destination = tunnel->remote[3];
		ip.checksum = 0;
		ip.checksum = ipv4_checksum(&ip);
		return bpf_skb_store_bytes(skb, l3, &ip, sizeof(ip), 0);
	}
	struct ipv6 ip;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)))
		return -1;
	ip.payload_length = bpf_htons(p->end - l3 - IPV6_HLEN);
	ip.hop_limit = OUTER_TTL;
	outer_source6(ip.source, out, tunnel);
	copy_address(ip.destination, tunnel->remote);
	return bpf_skb_store_bytes(skb, l3, &ip, sizeof(ip), 0);
}

static __noinline int renew_outer(struct __sk_buff *skb, const struct packet *p, const struct tpot_flow *out,
				  struct tpot_tunnel *tunnel)
{
	if (!p || !out || !tunnel)
		return -1;
	if (tunnel->back)
		note_returned(tunnel);
	__u32 l3 = p->l3 - p->outer, udp = l3 + outer_room(p->family, 0);

	if (renew_outer_ip(skb, p, l3, out, tunnel))
		return -1;
	return tunnel->udp ? store_udp(skb, udp, out, tunnel, p->end - udp) : 0;
}

static __always_inline __u32 outer_protocol(const struct packet *p, const struct tpot_tunnel *tunnel)
{
	if (tunnel->udp)
		return IPPROTO_UDP_;
	return p->family == 4 ? IPPROTO_IPIP_ : IPPROTO_IPV6_;
}

/*
 * Maps a segment and sends it where its new destination is; tc egress there finds the tunnel of that leg. With
 * `tunnel`, it is still in a tunnel packet and goes on in this one of the same kind, with its outer header renewed.
 */
__noinline int forward_spliced(struct __sk_buff *skb, struct packet *p, struct tpot_splice *splice,
				      struct tpot_tunnel *tunnel)
{
	__u32 protocol = IPPROTO_TCP_;
	const __be32 *destination;
	int verdict, cut = 0;

	if (!p || !splice)
		return SPLICE_GO_ON;
	verdict = map_spliced(skb, p, splice, &cut);
	if (verdict != TC_ACT_OK)
		return verdict;
	destination = splice->out.destination;
	if (tunnel) {
		if (renew_outer(skb, p, &splice->out, tunnel))
			return drop_spliced(TPOT_R_DROP_SPLICE_FAILED);
		p->l3 -= p->outer;
		destination = tunnel->remote;
		protocol = outer_protocol(p, tunnel);
	}
	verdict = route_spliced(skb, p, splice, splice->out.source, destination, protocol);
	if (cut && verdict == TC_ACT_REDIRECT)
		count(TPOT_R_SPLICE_CUT);
	return verdict;
}

/* The same for a segment of any size. What fits it is called from here, for the stack of the other is large. */
static __always_inline int handle_spliced(struct __sk_buff *skb, struct packet *p, struct tpot_splice *splice,
					  struct tpot_tunnel *tunnel)
{
	int verdict = forward_spliced(skb, p, splice, tunnel), first;

	if (verdict != SPLICE_TOO_BIG)
		return verdict;
	first = !is_piece(skb);
	verdict = fit_segment(skb, p, splice);
	if (verdict != TC_ACT_OK)
		return verdict;
	verdict = forward_spliced(skb, p, splice, tunnel);
	if (first && verdict == TC_ACT_REDIRECT)
		count(TPOT_R_SPLICE_RESIZED);
	return verdict == SPLICE_TOO_BIG ? drop_spliced(TPOT_R_DROP_SPLICE_FAILED) : verdict;
}

#endif
