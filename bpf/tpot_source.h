/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The source's side of the handshake (protocol rules 1 to 3): the shim's applications, and a node's next leg. */
#ifndef TPOT_SOURCE_H
#define TPOT_SOURCE_H

/* A context field, loaded here and now: a load the compiler moves goes through a computed pointer, which is rejected. */
#define CONTEXT(field) ({ __u32 value = (field); asm volatile("" : "+r"(value)); value; })

/* The flow that leaves this socket. Returns the family of its packets, 0 when it is neither. */
static __always_inline int flow_of_socket(struct bpf_sock_ops *ops, struct tpot_flow *flow)
{
	__u32 family = CONTEXT(ops->family), local = CONTEXT(ops->local_ip4), remote = CONTEXT(ops->remote_ip4);

	flow->source_port = bpf_htons(CONTEXT(ops->local_port)); /* host order, */
	flow->destination_port = bpf_htons(bpf_ntohl(CONTEXT(ops->remote_port))); /* network order in 32 bits */
	if (family == 10) {
		flow->destination[0] = CONTEXT(ops->remote_ip6[0]);
		flow->destination[1] = CONTEXT(ops->remote_ip6[1]);
		flow->destination[2] = CONTEXT(ops->remote_ip6[2]);
		flow->destination[3] = CONTEXT(ops->remote_ip6[3]);
		flow->source[0] = CONTEXT(ops->local_ip6[0]);
		flow->source[1] = CONTEXT(ops->local_ip6[1]);
		flow->source[2] = CONTEXT(ops->local_ip6[2]);
		flow->source[3] = CONTEXT(ops->local_ip6[3]);
		if (!is_mapped_ipv4(flow->destination))
			return 6;
		/* a dual-stack socket that speaks IPv4 */
	} else if (family != 2) {
		return 0;
	}
	map_ipv4(flow->source, local);
	map_ipv4(flow->destination, remote);
	return 4;
}

static __always_inline int is_loopback(const __be32 *address)
{
	if (is_mapped_ipv4(address))
		return (address[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return (address[0] | address[1] | address[2]) == 0 && address[3] == bpf_htonl(1);
}

static __always_inline int is_unicast(const __be32 *address)
{
	if (is_mapped_ipv4(address)) {
		__u32 first = bpf_ntohl(address[3]) >> 24;

		return first != 0 && first != 127 && first < 224;
	}
	if ((address[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000))
		return 0;
	return (address[0] | address[1] | address[2]) != 0 || bpf_ntohl(address[3]) > 1;
}

/* Rule 2: whose reply may pin a connection. TPOT_R_REPLY_ACCEPTED, or why not. */
static __noinline __u32 judge_reply(const struct option_scan *scan, const struct tpot_flow *flow, int family)
{
	struct tpot_prefix key = { .length = 32 + 128, .family = bpf_htonl(family) };

	/* A reply of the other family could not be reached by a header that repeats the inner source. */
	if (scan->has_reply != family || !is_unicast(scan->reply_address) ||
	    (family == 6 && is_mapped_ipv4(scan->reply_address)))
		return TPOT_R_DROP_REPLY_NOT_UNICAST;
	if (same_address(scan->reply_address, flow->source) || is_own(scan->reply_address))
		return TPOT_R_DROP_REPLY_OWN;
	copy_address(key.address, scan->reply_address);
	return bpf_map_lookup_elem(&tpot_trust, &key) ? TPOT_R_REPLY_ACCEPTED : TPOT_R_DROP_REPLY_UNTRUSTED;
}

/*
 * Whether a SYN-ACK acknowledges anything but our SYN: somebody who has not seen it made that up, and TCP refuses it
 * (RFC 9293 section 3.10.7.3). Where there is no socket to ask, it counts as an answer.
 */
static __noinline int is_no_answer(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *sk;
	int result = 0;

	if (!p)
		return 0;
	fill_tuple(&tuple, p);
	sk = bpf_sk_lookup_tcp(skb, &tuple, tuple_size(p), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	tcp = bpf_tcp_sock(sk);
	if (tcp) {
		__u32 beyond = p->ack - tcp->snd_una - 1; /* the SYN itself; data in it (RFC 7413) may be acknowledged, too */

		/* On the way of a SYN that is answered on the same machine, snd_nxt does not count it yet. */
		result = beyond > 0 && beyond >= tcp->snd_nxt - tcp->snd_una;
	}
	bpf_sk_release(sk);
	return result;
}

/*
 * A SYN-ACK arrives for a SYN that carried a request. An invalid reply is dropped before TCP sees it, and the
 * next SYN goes plain; a valid one is left to TCP, with an MSS that leaves room on this interface too.
 */
static __noinline int check_syn_ack(struct __sk_buff *skb, const struct packet *p)
{
	struct tpot_config *config = config_get();
	struct option_scan scan;
	struct tpot_flow flow;
	__u32 mtu = 0, reason;

	if (!config || !p)
		return TC_ACT_UNSPEC;
	flow_reverse(&flow, &p->flow);
	struct tpot_pending *pending = bpf_map_lookup_elem(&tpot_pending, &flow);

	struct tpot_tunnel *tunnel = pending ? 0 : bpf_map_lookup_elem(&tpot_tunnels, &flow);

	if ((!pending && (!tunnel || tunnel->back)) || !read_options(skb, p, config, &scan) || !scan.has_reply)
		return TC_ACT_UNSPEC;
	if (!pending) {
		note_repeated_syn_ack(skb, p, &scan, tunnel);
		return TC_ACT_UNSPEC;
	}
	reason = judge_reply(&scan, &flow, p->family);
	if (reason == TPOT_R_REPLY_ACCEPTED && !reply_admitted(p, &scan, pending))
		reason = TPOT_R_DROP_REPLY_UNKEYED;
	if (reason != TPOT_R_REPLY_ACCEPTED) {
		if (is_no_answer(skb, p))
			return TC_ACT_UNSPEC;
		pending->plain = 1;
		count(reason);
		return TC_ACT_SHOT;
	}
	pending->verified = scan.reply_keyed != 0;
	bpf_check_mtu(skb, 0, &mtu, 0, 0);
	__u32 overhead = outer_room(p->family, 0) + outer_room(p->family, 1) + TCP_HLEN;

	/*
	 * No IPv6 host sends packets below 1280 bytes (RFC 8200 section 5), whatever a router says: where a link carries no
	 * more than that and the outer header, only segments that were small from the start get through the tunnel.
	 */
	if (p->family == 6 && mtu > IPV6_MIN_MTU)
		mtu = IPV6_MIN_MTU;

	if (mtu > overhead + 8)
		lower_mss(skb, p, &scan, 0, mtu - overhead);
	return TC_ACT_UNSPEC;
}

/* What is stored with a full socket; null where there is nothing, or (request sockets) cannot be. */
static __always_inline struct tpot_socket *storage_of(struct bpf_sock_ops *ops, __u64 flags)
{
	struct bpf_sock *sk = ops->sk;

	return sk ? bpf_sk_storage_get(&tpot_sockets, sk, 0, flags) : 0;
}

/* The storage of a socket that is to send requests; null for one that is not. */
static __always_inline struct tpot_socket *source_storage(struct bpf_sock_ops *ops, const struct tpot_config *config)
{
	struct tpot_socket *socket = storage_of(ops, 0);

	if (socket || !(config->flags & TPOT_FLAG_SOURCE))
		return socket;
	socket = storage_of(ops, BPF_SK_STORAGE_GET_F_CREATE);
	if (socket) {
		socket->request_hops = config->hops;
		socket->request_capabilities = config->capabilities;
	}
	return socket;
}

static __always_inline __u32 judge_connect(const struct tpot_flow *flow, const struct tpot_config *config)
{
	if (is_loopback(flow->destination) || is_own(flow->destination))
		return TPOT_R_REQUEST_OMITTED_LOCAL;
	if (config->keys && !is_mapped_ipv4(flow->destination)) /* the reply would have no room for a MAC */
		return TPOT_R_REQUEST_OMITTED_KEYED;
	if (in_black_hole(flow))
		return TPOT_R_REQUEST_OMITTED_BLACK_HOLE;
	struct tpot_gauges *gauges = gauges_get();

	if (!gauges || gauges->tunnels >= config->max_tunnels)
		return TPOT_R_REQUEST_OMITTED_LIMIT;
	return TPOT_R_NONE;
}

static __noinline int on_connect(struct bpf_sock_ops *ops)
{
	struct tpot_config *config = config_get();
	struct tpot_socket *socket;
	struct tpot_flow flow = {};
	__u32 reason;

	if (!config || !flow_of_socket(ops, &flow))
		return 0;
	/* Of an earlier connection of these ports: this one may be plain, and asks anew. */
	bpf_map_delete_elem(&tpot_tunnels_closed, &flow);
	bpf_map_delete_elem(&tpot_pending, &flow);
	socket = source_storage(ops, config);
	if (!socket || socket->request_hops == 0)
		return 0;
	reason = judge_connect(&flow, config);
	if (reason != TPOT_R_NONE) {
		socket->leg_reason = reason;
		count(reason);
		return 0;
	}
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
	return 0;
}

/* Whether the SYN that is being built carries the request; called once per transmission. */
static __noinline int reserve_request(struct bpf_sock_ops *ops)
{
	struct tpot_config *config = config_get();
	struct tpot_socket *socket;
	struct tpot_pending *pending;
	struct tpot_flow flow = {};

	if (!config || !flow_of_socket(ops, &flow))
		return 0;
	socket = storage_of(ops, 0);
	if (!socket)
		return 0;
	socket->syns++;
	pending = bpf_map_lookup_elem(&tpot_pending, &flow);
	if (pending && pending->plain) {
		if (socket->leg_reason != TPOT_R_REQUEST_OMITTED_UNTRUSTED)
			count(TPOT_R_REQUEST_OMITTED_UNTRUSTED);
		socket->leg_reason = TPOT_R_REQUEST_OMITTED_UNTRUSTED;
		return 0;
	}
	if (socket->syns > config->syns_with_request) {
		if (socket->leg_reason != TPOT_R_REQUEST_OMITTED_RETRIES)
			count(TPOT_R_REQUEST_OMITTED_RETRIES);
		socket->leg_reason = TPOT_R_REQUEST_OMITTED_RETRIES;
		return 0;
	}
	if (bpf_reserve_hdr_opt(ops, config->keys ? TPOT_REQUEST_KEYED_LEN : TPOT_REQUEST_LEN, 0)) {
		socket->leg_reason = TPOT_R_REQUEST_NO_SPACE;
		count(TPOT_R_REQUEST_NO_SPACE);
	}
	return 0;
}

/* The MAC of the request that begins with `option`, in place; 0 when there is no TCP header to bind it to. */
static __noinline int sign_request(struct bpf_sock_ops *ops, __u8 *option)
{
	struct tpot_config *config = config_get();
	struct tpot_mac_input input = {};
	__be32 ack;
	__u32 mac;

	if (!config || !option || !flow_of_socket(ops, &input.flow) || !numbers_sent(ops, &input.seq, &ack))
		return 0;
	__builtin_memcpy(input.option, option, TPOT_REQUEST_LEN);
	input.option[TPOT_HOPS_AT] = 0;
	mac = sign(config, &input, 0);
	__builtin_memcpy(option + TPOT_REQUEST_LEN, &mac, sizeof(mac));
	return 1;
}

static __noinline int write_request(struct bpf_sock_ops *ops)
{
	struct tpot_config *config = config_get();
	struct tpot_pending pending = {};
	struct tpot_socket *socket;
	struct tpot_flow flow = {};

	if (!config || !flow_of_socket(ops, &flow))
		return 0;
	socket = storage_of(ops, 0);
	if (!socket)
		return 0;
	__u32 length = config->keys ? TPOT_REQUEST_KEYED_LEN : TPOT_REQUEST_LEN;
	__u8 option[TPOT_REQUEST_KEYED_LEN] = {
		config->option_kind, length, bpf_ntohs(config->exid) >> 8, bpf_ntohs(config->exid) & 0xff,
		TPOT_VERSION << 4 | TPOT_TYPE_REQUEST, socket->request_hops,
		socket->request_capabilities >> 8, socket->request_capabilities & 0xff,
	};

	pending.keyed = length == TPOT_REQUEST_KEYED_LEN;
	if (pending.keyed && !sign_request(ops, option))
		return 0;
	if (bpf_store_hdr_opt(ops, option, length, 0))
		return 0;
	socket->requests++;
	bpf_map_update_elem(&tpot_pending, &flow, &pending, BPF_NOEXIST);
	count(TPOT_R_REQUEST_SENT);
	return 0;
}

/* An option of this ExID in the SYN-ACK that TCP has just accepted; its length, or less than 4. */
static __always_inline long load_option(struct bpf_sock_ops *ops, const struct tpot_config *config, __u16 exid,
					struct tpot_option_area *area)
{
	area->bytes[0] = config->option_kind;
	area->bytes[1] = 4;
	area->bytes[2] = exid >> 8;
	area->bytes[3] = exid & 0xff;
	return bpf_load_hdr_opt(ops, area->bytes, TCP_MAX_OPTIONS, 0);
}

/* An IPv6 reply's ExID says what it accepts of the request; the kernel looks for one ExID at a time. */
static __always_inline long load_reply6(struct bpf_sock_ops *ops, const struct tpot_config *config, __u32 requested,
					struct tpot_option_area *area)
{
	for (__u32 accepted = 0; accepted <= TPOT_CAPABILITY_TRANSFORMS; accepted++) {
		long length;

		if (accepted & ~requested)
			continue;
		length = load_option(ops, config, bpf_ntohs(config->exid6) + accepted, area);
		if (length >= 4)
			return length;
	}
	return 0;
}

/* The reply in that SYN-ACK. */
static __always_inline int load_reply(struct bpf_sock_ops *ops, const struct tpot_config *config, int family,
				      __u32 requested, struct option_scan *scan)
{
	struct tpot_option_area area = {};
	long length = family == 4 ? load_option(ops, config, bpf_ntohs(config->exid), &area)
				  : load_reply6(ops, config, requested, &area);

	if (length < 4 || length > TCP_MAX_OPTIONS)
		return 0;
	area.length = length;
	scan_options(&area, scan, config->option_kind, ((__u32)config->exid << 16) | config->exid6);
	return scan->has_reply;
}

static __always_inline void pin(struct tpot_socket *socket, const struct tpot_flow *flow, const struct option_scan *scan)
{
	struct tpot_tunnel tunnel = { .udp_port = offered_udp_port(scan),
				      .capabilities = scan->reply_capabilities,
				      .answered = coarse_instant() };

	copy_address(tunnel.remote, scan->reply_address);
	use_tables(TPOT_UNUSED_TUNNELS);
	tunnel.udp = tunnel.udp_port != 0 && is_remembered(&tpot_udp_nodes, tunnel.remote);
	if (bpf_map_update_elem(&tpot_tunnels, flow, &tunnel, BPF_ANY)) {
		socket->leg_reason = TPOT_R_TABLE_FULL; /* the node sees plain segments and carries on (rule 8) */
		count(TPOT_R_TABLE_FULL);
		return;
	}
	add_tunnels(1);
	if (tunnel.udp)
		count(TPOT_R_TUNNEL_UDP_REMEMBERED);
	socket->udp = tunnel.udp;
	copy_address(socket->next_hop, scan->reply_address);
	socket->reply_capabilities = scan->reply_capabilities;
	socket->leg_reason = TPOT_R_REPLY_ACCEPTED;
	count(TPOT_R_REPLY_ACCEPTED);
}

/* Runs before the handshake's ACK is sent, so that even this ACK finds its tunnel. */
static __noinline int on_active_established(struct bpf_sock_ops *ops)
{
	struct tpot_config *config = config_get();
	struct tpot_socket *socket;
	struct option_scan scan = {};
	struct tpot_flow flow = {};
	int family;

	if (!config || !(ops->bpf_sock_ops_cb_flags & BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG))
		return 0;
	family = flow_of_socket(ops, &flow);
	socket = storage_of(ops, 0);
	if (!family || !socket)
		return 0;
	struct tpot_pending *pending = bpf_map_lookup_elem(&tpot_pending, &flow);
	/* One that was evicted can no longer say that the MAC was right. */
	int admitted = pending ? !pending->keyed || pending->verified : config->keys == 0;

	bpf_map_delete_elem(&tpot_pending, &flow);
	bpf_sock_ops_cb_flags_set(ops, (ops->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG) |
					       BPF_SOCK_OPS_STATE_CB_FLAG);
	if (socket->requests == 0)
		return 0;
	if (load_reply(ops, config, family, socket->request_capabilities, &scan) && admitted &&
	    judge_reply(&scan, &flow, family) == TPOT_R_REPLY_ACCEPTED) {
		pin(socket, &flow, &scan);
		forget_black_hole(&flow);
	} else if (socket->leg_reason == TPOT_R_REQUEST_OMITTED_RETRIES) {
		learn_black_hole(&flow, config);
	} else if (socket->leg_reason != TPOT_R_REQUEST_OMITTED_UNTRUSTED) {
		socket->leg_reason = TPOT_R_REPLY_NONE;
		count(TPOT_R_REPLY_NONE);
		forget_black_hole(&flow);
	}
	return 0;
}

#endif
