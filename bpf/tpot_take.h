/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* A node taking connections: SYNs with a request, and rule 8 for what follows outside the tunnel. */
#ifndef TPOT_TAKE_H
#define TPOT_TAKE_H

static __always_inline int in_prefix(const __be32 *address, const __be32 *value, const __be32 *mask)
{
	return (((address[0] & mask[0]) ^ value[0]) | ((address[1] & mask[1]) ^ value[1]) |
		((address[2] & mask[2]) ^ value[2]) | ((address[3] & mask[3]) ^ value[3])) == 0;
}

static __always_inline int row_matches(const struct tpot_policy_row *row, const struct tpot_flow *flow, __u32 family)
{
	__u16 port = bpf_ntohs(flow->destination_port);

	return (row->family == 0 || row->family == family) && port >= row->port_from && port <= row->port_to &&
	       in_prefix(flow->source, row->source, row->source_mask) &&
	       in_prefix(flow->destination, row->destination, row->destination_mask);
}

/* What one walk over the policy table knows. */
struct policy_walk {
	const struct tpot_flow *flow;
	__u32 family;
	__u32 bank, rows;
	__u32 take, capabilities; /* of the first row that matches */
};

static long policy_step(__attribute__((unused)) void *map, __u32 *index, struct tpot_policy_row *row, struct policy_walk *walk)
{
	if (*index >> 1 >= walk->rows)
		return 1;
	if ((*index & 1) != walk->bank)
		return 0;
	if (!row_matches(row, walk->flow, walk->family))
		return 0;
	walk->take = row->take;
	walk->capabilities = row->capabilities;
	return 1;
}

/*
 * First match wins; no match passes. The banks alternate row by row, so that the walk ends with the rows in use. Of what the
 * request asks for, what the reply accepts is left in the scan. TPOT_R_NONE: it may be taken.
 */
static __always_inline __u32 policy_verdict(const struct packet *p, struct option_scan *scan, const struct tpot_config *config)
{
	struct policy_walk walk = {
		.flow = &p->flow,
		.family = p->family,
		.bank = config->policy >> 31,
		.rows = config->policy & 0x7fffffff,
	};
	__u16 asked = scan->request_capabilities;

	bpf_for_each_map_elem(&tpot_policy, policy_step, &walk, 0);
	if (walk.take == TPOT_ROW_PASSES)
		return TPOT_R_PASS_POLICY;
	scan->request_capabilities = asked & config->capabilities & (walk.capabilities | TPOT_CAPABILITY_TRACE | TPOT_CAPABILITY_RETURN);
	if (walk.take == TPOT_ROW_YIELDS && (asked & TPOT_CAPABILITY_TRANSFORMS) &&
	    !(scan->request_capabilities & TPOT_CAPABILITY_TRANSFORMS))
		return TPOT_R_PASS_TRANSFORMS;
	return TPOT_R_NONE;
}

static __always_inline int is_own(const __be32 *address)
{
	struct tpot_address key;

	copy_address(key.address, address);
	return bpf_map_lookup_elem(&tpot_own, &key) != 0;
}

static __always_inline void fill_tuple(struct bpf_sock_tuple *tuple, const struct packet *p)
{
	if (p->family == 4) {
		tuple->ipv4.saddr = p->flow.source[3];
		tuple->ipv4.daddr = p->flow.destination[3];
		tuple->ipv4.sport = p->flow.source_port;
		tuple->ipv4.dport = p->flow.destination_port;
	} else {
		copy_address(tuple->ipv6.saddr, p->flow.source);
		copy_address(tuple->ipv6.daddr, p->flow.destination);
		tuple->ipv6.sport = p->flow.source_port;
		tuple->ipv6.dport = p->flow.destination_port;
	}
}

static __always_inline __u32 tuple_size(const struct packet *p)
{
	return p->family == 4 ? sizeof(((struct bpf_sock_tuple *)0)->ipv4) : sizeof(((struct bpf_sock_tuple *)0)->ipv6);
}

/* The state of the kernel's connection, TIME_WAIT included, that this packet belongs to; 0 when there is none. */
static __noinline int connection_state(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int state = 0;

	if (!p)
		return 0;
	fill_tuple(&tuple, p);
	sk = bpf_skc_lookup_tcp(skb, &tuple, tuple_size(p), BPF_F_CURRENT_NETNS, 0);
	if (sk) {
		state = sk->state == BPF_TCP_LISTEN ? 0 : sk->state;
		bpf_sk_release(sk);
	}
	return state;
}

static __always_inline int is_open(int state)
{
	return state != 0 && state != BPF_TCP_TIME_WAIT;
}

/* The node's listener stands on the loopback address, where nobody else can reach it. */
static __always_inline struct bpf_sock *find_listener(struct __sk_buff *skb, const struct packet *p,
						      const struct tpot_config *config)
{
	struct bpf_sock_tuple tuple = {};

	if (p->family == 4) {
		tuple.ipv4.daddr = bpf_htonl(0x7f000001);
		tuple.ipv4.dport = bpf_htons(config->listener_port4);
	} else {
		tuple.ipv6.daddr[3] = bpf_htonl(1);
		tuple.ipv6.dport = bpf_htons(config->listener_port6);
	}
	return bpf_skc_lookup_tcp(skb, &tuple, tuple_size(p), BPF_F_CURRENT_NETNS, 0);
}

/* Gives the packet to the node's listener; 0 when there is none, and then nothing has changed. */
static __noinline int assign_listener(struct __sk_buff *skb, const struct packet *p)
{
	struct tpot_config *config = config_get();
	struct bpf_sock *sk;
	int assigned = 0;

	if (!config || !p)
		return 0;
	sk = find_listener(skb, p, config);
	if (!sk)
		return 0;
	if (sk->state == BPF_TCP_LISTEN)
		assigned = bpf_sk_assign(skb, sk, 0) == 0;
	bpf_sk_release(sk);
	return assigned;
}

/* The mark leads into the routing table where every destination is local. */
static __always_inline int deliver(struct __sk_buff *skb, const struct tpot_config *config)
{
	skb->mark = config->mark;
	return TC_ACT_OK;
}

/*
 * Lets a packet travel on although a socket of ours has its addresses and ports. The kernel looks sockets up before it
 * routes (early demultiplexing), delivers to one that is established, and never forwards what has found another. It
 * does not look for a packet that has a destination entry; that of a tunnel key is one that routing then replaces.
 */
static __always_inline int pass_by_sockets(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};

	bpf_skb_set_tunnel_key(skb, &key, offsetof(struct bpf_tunnel_key, remote_ipv6[1]), 0);
	return TC_ACT_UNSPEC;
}

/*
 * A segment of a taken connection goes to its socket. Where there is none (a SYN cookie is being answered, or the
 * connection is over) it goes to the listener, which checks the cookie or answers with a reset from D's address.
 */
static __always_inline int deliver_segment(struct __sk_buff *skb, const struct packet *p, const struct tpot_config *config)
{
	if (!connection_state(skb, p))
		assign_listener(skb, p);
	return deliver(skb, config);
}

static __always_inline struct tpot_taken *find_taken(const struct tpot_flow *flow)
{
	struct tpot_taken *taken = bpf_map_lookup_elem(&tpot_taken, flow);

	return taken ? taken : bpf_map_lookup_elem(&tpot_transient, flow);
}

/* Why a SYN is not taken, TPOT_R_TAKEN or TPOT_R_TAKEN_EDGE when it may be, TPOT_R_NONE when it is none of ours. */
static __always_inline __u32 judge_syn(const struct packet *p, struct option_scan *scan, const struct tpot_config *config)
{
	__u32 verdict = scan->has_request ? TPOT_R_TAKEN : TPOT_R_TAKEN_EDGE, policy;

	if (!scan->has_request && !(config->flags & TPOT_FLAG_EDGE))
		return TPOT_R_NONE;
	if (is_own(p->flow.destination))
		return TPOT_R_PASS_LOCAL;
	if (is_own(p->flow.source))
		return TPOT_R_PASS_LOOP;
	if (scan->has_request && scan->hops == 0)
		return TPOT_R_PASS_HOPS;
	if (scan->mp_join)
		return TPOT_R_PASS_MP_JOIN;
	if (config->flags & TPOT_FLAG_DRAINING)
		return TPOT_R_PASS_DRAINING;
	if (bypasses(p, config->policy))
		return TPOT_R_PASS_BYPASS;
	policy = policy_verdict(p, scan, config);
	if (policy != TPOT_R_NONE)
		return policy;
	if (scan->has_request && !request_admitted(p, scan, config))
		return TPOT_R_PASS_UNKEYED;
	struct tpot_gauges *gauges = gauges_get();

	if (!gauges || gauges->taken >= config->max_connections)
		return TPOT_R_PASS_LIMIT;
	return client_is_full(p->flow.source, config) ? TPOT_R_PASS_CLIENT_LIMIT : verdict;
}

/* The MSS option's value; 0 when there is none. */
static __always_inline __u16 read_mss(struct __sk_buff *skb, const struct packet *p, const struct option_scan *scan)
{
	__be16 mss = 0;

	if (scan->mss_at == 0 || bpf_skb_load_bytes(skb, p->l4 + TCP_HLEN + scan->mss_at, &mss, sizeof(mss)))
		return 0;
	return bpf_ntohs(mss);
}

/* A retransmitted SYN keeps its entry: the same SYN gets the same SYN-ACK (rule 6). */
static __noinline int remember_syn(struct __sk_buff *skb, const struct packet *p, const struct option_scan *scan)
{
	if (!p || !scan)
		return 0;

	struct tpot_taken taken = { .state = scan->has_request ? TPOT_STATE_SYN_RECEIVED : TPOT_STATE_EDGE };

	copy_address(taken.outer_source, p->flow.source);
	taken.hops = scan->hops;
	taken.capabilities = scan->request_capabilities; /* what the reply accepts */
	taken.keyed = scan->request_keyed;
	taken.mss = read_mss(skb, p, scan);
	use_tables(TPOT_UNUSED_TAKEN);
	bpf_map_update_elem(&tpot_transient, &p->flow, &taken, BPF_ANY);
	return 0;
}

/* A trace with hops to spare: this node counts, and lets the SYN travel on to the one that is asked for. */
static __always_inline int wants_trace(const struct option_scan *scan)
{
	return scan->hops > 1 && (scan->request_capabilities & TPOT_CAPABILITY_TRACE);
}

static __noinline __u32 forward_trace(struct __sk_buff *skb, const struct packet *p, const struct option_scan *scan)
{
	struct tpot_config *config = config_get();
	struct bpf_sock *listener;
	int stands;

	if (!config || !p || !scan)
		return TPOT_R_NONE;
	listener = find_listener(skb, p, config);
	if (!listener)
		return TPOT_R_PASS_NO_LISTENER;
	stands = listener->state == BPF_TCP_LISTEN;
	bpf_sk_release(listener);
	if (!stands)
		return TPOT_R_PASS_NO_LISTENER;
	return lower_hops(skb, p, scan) ? TPOT_R_TRACE_FORWARDED : TPOT_R_NONE;
}

static __noinline int handle_syn(struct __sk_buff *skb, const struct packet *p)
{
	struct tpot_config *config = config_get();
	struct option_scan scan;
	__u32 verdict;

	if (!config || !p || !read_options(skb, p, config, &scan))
		return TC_ACT_UNSPEC;
	/*
	 * Rule 6: whatever has changed since, the same SYN gets the same SYN-ACK, from TCP. One without its request is
	 * another SYN: the source distrusts our reply (rule 2) or never saw it (rule 1), and wants plain TCP with D.
	 */
	struct tpot_taken *taken = find_taken(&p->flow);
	int state = taken ? connection_state(skb, p) : 0;
	int connected = is_open(state);

	if (connected && (scan.has_request || taken->state == TPOT_STATE_EDGE))
		return deliver(skb, config);
	verdict = judge_syn(p, &scan, config);
	if (verdict == TPOT_R_TAKEN && wants_trace(&scan))
		verdict = forward_trace(skb, p, &scan);
	if (connected && verdict == TPOT_R_TAKEN_EDGE) {
		/* Which of our answers the source believes, its first segment tells (rule 8): one with a reply may be on its way. */
		if (taken->state == TPOT_STATE_SYN_RECEIVED || taken->state == TPOT_STATE_SYN_ANSWERED)
			taken->state = TPOT_STATE_SILENT;
		return deliver(skb, config);
	}
	if (verdict == TPOT_R_TAKEN || verdict == TPOT_R_TAKEN_EDGE) {
		/* Beside one in TIME_WAIT the kernel (seen on 6.18) makes no other connection: the SYN would be lost. */
		if (state == BPF_TCP_TIME_WAIT) {
			verdict = TPOT_R_PASS_TIME_WAIT;
		} else if (assign_listener(skb, p)) {
			remember_syn(skb, p, &scan);
			count(verdict);
			return deliver(skb, config);
		} else {
			verdict = TPOT_R_PASS_NO_LISTENER;
		}
	}
	if (verdict != TPOT_R_NONE)
		count(verdict);
	if (!taken)
		return TC_ACT_UNSPEC;
	if (state == 0) /* an earlier connection between the same ends, which is over */
		bpf_map_delete_elem(&tpot_transient, &p->flow);
	else if (!connected) /* its TIME_WAIT must not swallow the new one's segments: as plain ones they pass */
		taken->state = TPOT_STATE_TUNNELLED;
	return pass_by_sockets(skb);
}

/* Rule 8: the first segment after the SYN-ACK decides whether this connection's segments come by tunnel. */
static __always_inline int plain_counts(struct tpot_taken *taken, const struct packet *p)
{
	if (taken->state == TPOT_STATE_EDGE || taken->state == TPOT_STATE_PLAIN)
		return 1;
	if (taken->state != TPOT_STATE_SYN_ANSWERED && taken->state != TPOT_STATE_SILENT)
		return 0;
	if (p->ack != taken->isn + 1 || !(p->flags & TCP_ACK))
		return 0;
	taken->state = TPOT_STATE_PLAIN;
	count(TPOT_R_TAKEN_REPLY_STRIPPED);
	return 1;
}

/*
 * With its client's address (protocol rule 10) a leg's segments are addressed to somebody else: what belongs to a socket
 * of this machine stays here, TIME_WAIT included, and everything else travels on.
 */
static __always_inline int deliver_to_leg(struct __sk_buff *skb, const struct packet *p, const struct tpot_config *config)
{
	if ((config->flags & TPOT_FLAG_CLIENT_LEGS) && !is_own(p->flow.destination) && connection_state(skb, p))
		return deliver(skb, config);
	return TC_ACT_UNSPEC;
}

/* A segment that is not a SYN and came outside any tunnel. */
static __noinline int handle_plain(struct __sk_buff *skb, const struct packet *p)
{
	struct tpot_config *config = config_get();
	struct tpot_taken *taken;

	if (!config || !p)
		return TC_ACT_UNSPEC;
	taken = find_taken(&p->flow);
	if (!taken)
		return deliver_to_leg(skb, p, config);
	if (plain_counts(taken, p))
		return deliver_segment(skb, p, config);
	count(TPOT_R_PASS_PLAIN_OF_TUNNELLED);
	return pass_by_sockets(skb);
}

/*
 * The largest MSS to announce. A router that sets the MSS of SYNs to what its links carry knows nothing of tunnels; it
 * sets that of SYN-ACKs alike, so room is left below what arrived in the SYN, too.
 */
static __always_inline __u32 mss_ceiling(const struct tpot_taken *taken, __u32 overhead)
{
	return taken->mss > overhead ? taken->mss - overhead : 0xffff;
}

/* Our SYN-ACK on its way out: its sequence number decides rule 8, its MSS leaves room for the tunnel (rule 9). */
static __noinline int finish_syn_ack(struct __sk_buff *skb, const struct packet *p)
{
	struct tpot_config *config = config_get();
	struct tpot_flow flow;
	struct option_scan scan;

	if (!config || !p)
		return 0;
	flow_reverse(&flow, &p->flow);
	struct tpot_taken *taken = bpf_map_lookup_elem(&tpot_transient, &flow);

	if (!taken || taken->state == TPOT_STATE_EDGE || taken->state == TPOT_STATE_PLAIN)
		return 0;
	taken->isn = p->seq;
	if (taken->state == TPOT_STATE_SYN_RECEIVED)
		taken->state = TPOT_STATE_SYN_ANSWERED;
	if (read_options(skb, p, config, &scan)) {
		__u32 overhead = outer_room(p->family, 1);

		lower_mss(skb, p, &scan, overhead, mss_ceiling(taken, overhead));
	}
	return 0;
}

#endif
