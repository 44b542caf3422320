// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The per-packet half of tpot-node. User space decides per connection; the two meet in the maps of tpot_maps.h.
 *
 *            tc ingress                                        tc egress
 *   frame ─▶ parse ─┬─ SYN            ─▶ handle_syn        segment ─▶ parse ─┬─ our SYN-ACK ─▶ finish_syn_ack
 *                   ├─ SYN-ACK        ─▶ check_syn_ack                       └─ pinned      ─▶ send_tunnelled
 *                   ├─ other segment  ─▶ handle_plain
 *                   ├─ ICMP error     ─▶ handle_icmp
 *                   ├─ UDP, our port  ─┐
 *                   └─ protocol 4/41  ─┴▶ handle_tunnelled sockops: options in and out, life of the entries
 *
 * Everything that is not ours leaves with TC_ACT_UNSPEC: untouched, and seen by whatever filter comes next.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tpot_consts.h"
#include "tpot_structs.h"
#include "tpot_maps.h"
#include "tpot_packet.h"
#include "tpot_option.h"
#include "tpot_key.h"
#include "tpot_bypass.h"
#include "tpot_client.h"
#include "tpot_take.h"
#include "tpot_rewrite.h"
#include "tpot_route.h"
#include "tpot_keep.h"
#include "tpot_udp.h"
#include "tpot_episode.h"
#include "tpot_tap.h"
#include "tpot_end.h"
#include "tpot_return.h"
#include "tpot_splice.h"
#include "tpot_fit.h"
#include "tpot_return_mtu.h"
#include "tpot_tunnel.h"
#include "tpot_black_hole.h"
#include "tpot_blocked.h"
#include "tpot_source.h"
#include "tpot_icmp.h"
#include "tpot_path_mtu.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Whether a packet that is not TCP may be a tunnel's to a source, which this machine is: the inner segment tells. */
static __always_inline int may_be_returned(struct __sk_buff *skb, const struct packet *p, const struct tpot_config *config)
{
	__be16 port;

	if (!(config->capabilities & TPOT_CAPABILITY_RETURN) || tables_unused(TPOT_UNUSED_TUNNELS))
		return 0;
	if (p->protocol != IPPROTO_UDP_)
		return p->protocol == (p->family == 4 ? IPPROTO_IPIP_ : IPPROTO_IPV6_);
	return p->sound && bpf_skb_load_bytes(skb, p->l4 + 2, &port, sizeof(port)) == 0 &&
	       bpf_ntohs(port) >= TPOT_UDP_FIRST_SOURCE_PORT;
}

/* Whether a packet that is not TCP is addressed to our end of a tunnel. */
static __always_inline int is_tunnel_to_us(struct __sk_buff *skb, const struct packet *p,
					   const struct tpot_config *config)
{
	int to_us = p->family == 4 ? config->address4 != 0 && p->flow.destination[3] == config->address4
				   : (config->address6[0] | config->address6[3]) != 0 &&
					     same_address(p->flow.destination, config->address6);

	if (!to_us)
		return 0;
	return p->protocol == (p->family == 4 ? IPPROTO_IPIP_ : IPPROTO_IPV6_) || is_udp_to_port(skb, p, config->udp_port);
}

static __always_inline int ingress_tcp(struct __sk_buff *skb, struct packet *p, const struct tpot_config *config)
{
	struct tpot_splice *splice = find_splice(&p->flow, config);

	if (splice && !is_new_connection(skb, p, splice)) {
		p->tunnelled = is_piece(skb); /* of a segment that was checked */
		int verdict = handle_spliced(skb, p, splice, 0);

		if (verdict != SPLICE_GO_ON)
			return verdict;
	}
	if ((p->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
		int verdict = check_syn_ack(skb, p);

		return verdict == TC_ACT_UNSPEC ? deliver_to_leg(skb, p, config) : verdict;
	}
	if (!(config->flags & TPOT_FLAG_NODE))
		return TC_ACT_UNSPEC;
	return p->flags & TCP_SYN ? handle_syn(skb, p) : handle_plain(skb, p);
}

/* Whether a segment can be of a connection that this machine has taken or spliced; beside SYNs. */
static __always_inline int may_be_ours(const struct tpot_config *config)
{
	if (config->flags & TPOT_FLAG_SPLICING)
		return 1;
	return (config->flags & TPOT_FLAG_NODE) && !tables_unused(TPOT_UNUSED_TAKEN);
}

static __always_inline int ingress(struct __sk_buff *skb, __u32 l3)
{
	struct tpot_config *config = config_get();
	struct packet p = {};

	if (!config || !parse_ip(skb, l3, &p))
		return TC_ACT_UNSPEC;
	if (p.protocol == IPPROTO_TCP_) {
		if (!p.sound || !parse_tcp(skb, &p) || (!(p.flags & TCP_SYN) && !may_be_ours(config)))
			return TC_ACT_UNSPEC;
		return ingress_tcp(skb, &p, config);
	}
	p.ours = (config->flags & TPOT_FLAG_NODE) && is_tunnel_to_us(skb, &p, config);
	if (p.ours || may_be_returned(skb, &p, config))
		return handle_tunnelled(skb, &p);
	if (p.sound && p.protocol == (p.family == 4 ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_))
		return handle_icmp(skb, &p);
	return TC_ACT_UNSPEC;
}

static __always_inline int egress(struct __sk_buff *skb, __u32 l3)
{
	struct packet p = {};

	if (!parse_ip(skb, l3, &p) || p.protocol != IPPROTO_TCP_ || !p.sound || !parse_tcp(skb, &p))
		return TC_ACT_UNSPEC;
	if ((p.flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
		/* One that came in here is D's or another node's: of a connection that we took and that passes us all the same. */
		if (skb->ingress_ifindex == 0) {
			if (!tables_unused(TPOT_UNUSED_TUNNELS)) /* of an earlier connection with the same ends */
				bpf_map_delete_elem(&tpot_tunnels_closed, &p.flow);
			finish_syn_ack(skb, &p);
		}
		return TC_ACT_UNSPEC;
	}
	return tables_unused(TPOT_UNUSED_TUNNELS) ? TC_ACT_UNSPEC : send_tunnelled(skb, &p);
}

/* Interfaces with an Ethernet header, and those without (tun, wireguard, ppp). */
SEC("tc") int tpot_ingress(struct __sk_buff *skb) { return ingress(skb, ETH_HLEN); }
SEC("tc") int tpot_egress(struct __sk_buff *skb) { return egress(skb, ETH_HLEN); }
SEC("tc") int tpot_ingress_l3(struct __sk_buff *skb) { return ingress(skb, 0); }
SEC("tc") int tpot_egress_l3(struct __sk_buff *skb) { return egress(skb, 0); }

/* Run by user space over a frame that is a `struct tpot_flow`: forgets the spliced connection it is of. */
SEC("tc") int tpot_forget(struct __sk_buff *skb)
{
	struct tpot_splice *splice;
	struct tpot_flow flow;

	if (bpf_skb_load_bytes(skb, 0, &flow, sizeof(flow)))
		return 0;
	splice = bpf_map_lookup_elem(&tpot_splices, &flow);
	if (splice)
		forget_both(&flow, splice);
	return splice != 0;
}

/*
 * Run by user space over a frame that is the `struct tpot_flow` of a spliced connection and the number behind its FIN, which
 * has been held back during the hand-over and leaves without these programs: see follow_end.
 */
SEC("tc") int tpot_note_fin(struct __sk_buff *skb)
{
	struct tpot_splice *splice, *other;
	struct tpot_flow flow;
	__u32 end;

	if (bpf_skb_load_bytes(skb, 0, &flow, sizeof(flow)) || bpf_skb_load_bytes(skb, sizeof(flow), &end, sizeof(end)))
		return 0;
	splice = bpf_map_lookup_elem(&tpot_splices, &flow);
	other = splice ? other_direction(splice) : 0;
	if (!other)
		return 0;
	note_fin(other, end - 1 + splice->sequence_delta);
	return 1;
}

/* Run by user space over a frame that is a `struct tpot_flow`: no more copies of what arrives as it. */
SEC("tc") int tpot_untap(struct __sk_buff *skb)
{
	struct tpot_splice *splice;
	struct tpot_flow flow;

	if (bpf_skb_load_bytes(skb, 0, &flow, sizeof(flow)))
		return 0;
	splice = bpf_map_lookup_elem(&tpot_splices, &flow);
	if (splice)
		take_flags(splice, TPOT_SPLICE_TAPPED);
	return splice != 0;
}

/* Run by user space over a frame that is a `struct tpot_flow` and its family: a socket's state, 0 when there is none. */
SEC("tc") int tpot_socket_state(struct __sk_buff *skb)
{
	struct packet p = {};
	__u32 family;

	if (bpf_skb_load_bytes(skb, 0, &p.flow, sizeof(p.flow)) || bpf_skb_load_bytes(skb, sizeof(p.flow), &family, sizeof(family)))
		return 0;
	p.family = family;
	return connection_state(skb, &p);
}

/* The flow of a request socket or child of our listener, from its source; null when we have not taken it. */
static __always_inline struct tpot_taken *transient_of(struct bpf_sock_ops *ops, struct tpot_flow *flow)
{
	struct tpot_flow ours = {};

	if (!flow_of_socket(ops, &ours))
		return 0;
	flow_reverse(flow, &ours);
	return bpf_map_lookup_elem(&tpot_transient, flow);
}

static __always_inline int offers_tunnel(const struct tpot_taken *taken)
{
	return taken && taken->state != TPOT_STATE_EDGE && taken->state != TPOT_STATE_SILENT;
}

static __always_inline __u32 reply4_length(const struct tpot_taken *taken, const struct tpot_config *config)
{
	__u32 length = config->udp_port ? TPOT_REPLY4_UDP_LEN : TPOT_REPLY4_LEN;

	return taken->keyed && config->keys ? length + TPOT_MAC_LEN : length;
}

static __noinline int reserve_reply(struct bpf_sock_ops *ops)
{
	struct tpot_flow flow = {};
	struct tpot_taken *taken = transient_of(ops, &flow);

	struct tpot_config *config = config_get();

	if (!config || !offers_tunnel(taken))
		return 0;
	if (!is_mapped_ipv4(flow.source))
		bpf_reserve_hdr_opt(ops, TPOT_REPLY6_LEN, 0);
	else
		bpf_reserve_hdr_opt(ops, reply4_length(taken, config), 0);
	return 0;
}

static __always_inline void put_be32(__u8 *to, __be32 value)
{
	__builtin_memcpy(to, &value, sizeof(value));
}

/* The MAC of the reply in `option`, which is as long as the longest and zero where the MAC goes. */
static __noinline __u32 sign_reply(struct bpf_sock_ops *ops, const __u8 *option, __u32 index)
{
	struct tpot_config *config = config_get();
	struct tpot_mac_input input = {};
	struct tpot_flow ours = {};
	__be32 ack = 0;

	if (!config || !option || !flow_of_socket(ops, &ours) || !numbers_sent(ops, &input.isn, &ack))
		return 0;
	flow_reverse(&input.flow, &ours);
	input.seq = bpf_htonl(bpf_ntohl(ack) - 1);
	__builtin_memcpy(input.option, option, sizeof(input.option));
	return sign(config, &input, index);
}

static __noinline int write_reply(struct bpf_sock_ops *ops)
{
	struct tpot_config *config = config_get();
	__u8 option[TPOT_REPLY6_LEN] = {};
	struct tpot_flow flow = {};
	struct tpot_taken *taken = transient_of(ops, &flow);

	if (!config || !offers_tunnel(taken))
		return 0;
	int four = is_mapped_ipv4(flow.source);
	__u16 accepted = taken->capabilities;
	__u16 exid = four ? bpf_ntohs(config->exid) : bpf_ntohs(config->exid6) + (accepted & TPOT_CAPABILITY_TRANSFORMS);

	option[0] = config->option_kind;
	option[2] = exid >> 8;
	option[3] = exid & 0xff;
	if (four) {
		__u32 length = reply4_length(taken, config);

		option[1] = length;
		option[4] = TPOT_VERSION << 4 | TPOT_TYPE_REPLY;
		option[6] = accepted >> 8;
		option[7] = accepted & 0xff;
		put_be32(option + 8, config->address4);
		if (config->udp_port)
			__builtin_memcpy(option + 12, &config->udp_port, sizeof(config->udp_port));
		if (length == TPOT_REPLY4_UDP_KEYED_LEN)
			put_be32(option + TPOT_REPLY4_UDP_LEN, sign_reply(ops, option, taken->keyed - 1));
		else if (length == TPOT_REPLY4_KEYED_LEN)
			put_be32(option + TPOT_REPLY4_LEN, sign_reply(ops, option, taken->keyed - 1));
		bpf_store_hdr_opt(ops, option, length, 0);
	} else {
		option[1] = TPOT_REPLY6_LEN;
		put_be32(option + 4, config->address6[0]);
		put_be32(option + 8, config->address6[1]);
		put_be32(option + 12, config->address6[2]);
		put_be32(option + 16, config->address6[3]);
		bpf_store_hdr_opt(ops, option, TPOT_REPLY6_LEN, 0);
	}
	count(TPOT_R_SYNACK_REPLY);
	return 0;
}

static __always_inline __u8 origin_of(__u8 state)
{
	if (state == TPOT_STATE_EDGE)
		return TPOT_ORIGIN_EDGE;
	return state == TPOT_STATE_PLAIN ? TPOT_ORIGIN_STRIPPED : TPOT_ORIGIN_TUNNEL;
}

/* The handshake is over: the entry moves to the table that is never evicted, and the socket learns what it is. */
static __noinline int on_passive_established(struct bpf_sock_ops *ops)
{
	struct tpot_flow flow = {};
	struct tpot_taken *found = transient_of(ops, &flow), taken;
	struct tpot_socket *socket;
	int returns;

	if (!found)
		return 0;
	taken = *found;
	taken.counted = client_came(&flow);
	returns = takes_returns(&taken);
	bpf_sock_ops_cb_flags_set(ops, (ops->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG) |
					       BPF_SOCK_OPS_STATE_CB_FLAG | (returns ? BPF_SOCK_OPS_RTO_CB_FLAG : 0));
	if (bpf_map_update_elem(&tpot_taken, &flow, &taken, BPF_ANY)) {
		count(TPOT_R_TABLE_FULL); /* stays where the least recently used go first */
		if (taken.counted)
			client_left(&flow);
	} else {
		add_taken(1);
		bpf_map_delete_elem(&tpot_transient, &flow);
	}
	socket = storage_of(ops, BPF_SK_STORAGE_GET_F_CREATE);
	if (socket) {
		socket->origin = origin_of(taken.state);
		socket->request_hops = taken.hops;
		socket->request_capabilities = taken.capabilities;
		socket->udp = taken.udp;
	}
	if (returns)
		begin_returned(&flow, &taken);
	count(TPOT_R_ESTABLISHED);
	return 0;
}

/* What a taken connection has sent to its source stays without an answer. */
static __noinline int on_timeout(struct bpf_sock_ops *ops)
{
	struct tpot_flow ours = {}, theirs;
	struct tpot_taken *taken;

	if (CONTEXT(ops->args[0]) < TPOT_TIMEOUT_IN_A_ROW || !flow_of_socket(ops, &ours))
		return 0;
	flow_reverse(&theirs, &ours);
	taken = bpf_map_lookup_elem(&tpot_taken, &theirs);
	if (taken)
		note_stalled(taken, &ours, 0, CONTEXT(ops->snd_una));
	return 0;
}

/* A connection that counts has lost its socket: it is over, or goes on without one, and counts until that ends. */
static __always_inline void count_no_more(const struct tpot_flow *flow)
{
	struct tpot_splice *splice = find_splice(flow, config_get());

	if (splice && !(splice->flags & TPOT_SPLICE_HOLD))
		splice->counted = 1;
	else
		client_left(flow);
}

/* The socket is gone or has become a TIME_WAIT one: its entries move to where they may be evicted. */
static __noinline int on_closed(struct bpf_sock_ops *ops)
{
	struct tpot_flow ours = {}, theirs;
	struct tpot_tunnel *tunnel;
	struct tpot_taken *taken;

	if (!flow_of_socket(ops, &ours))
		return 0;
	flow_reverse(&theirs, &ours);
	tunnel = bpf_map_lookup_elem(&tpot_tunnels, &ours);
	/* The connection may go on without its sockets, through the same tunnel. */
	if (tunnel && !is_joined(&theirs)) {
		struct tpot_tunnel copy = *tunnel;

		bpf_map_update_elem(&tpot_tunnels_closed, &ours, &copy, BPF_ANY);
		if (bpf_map_delete_elem(&tpot_tunnels, &ours) == 0)
			add_tunnels(-1);
	}
	taken = bpf_map_lookup_elem(&tpot_taken, &theirs);
	if (taken) {
		struct tpot_taken copy = *taken;

		if (copy.counted)
			count_no_more(&theirs);
		copy.counted = 0;
		bpf_map_update_elem(&tpot_transient, &theirs, &copy, BPF_ANY);
		if (bpf_map_delete_elem(&tpot_taken, &theirs) == 0)
			add_taken(-1);
	}
	return 0;
}

static __always_inline int is_syn_ack(struct bpf_sock_ops *ops)
{
	return (ops->skb_tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
}

static __always_inline int is_syn(struct bpf_sock_ops *ops)
{
	return (ops->skb_tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

SEC("sockops") int tpot_sockops(struct bpf_sock_ops *ops)
{
	switch (ops->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		on_connect(ops);
		break;
	case BPF_SOCK_OPS_TCP_LISTEN_CB: {
		struct tpot_config *config = config_get();

		if (config && (config->flags & TPOT_FLAG_NODE))
			bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
		break;
	}
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		if (is_syn(ops))
			reserve_request(ops);
		else if (is_syn_ack(ops))
			reserve_reply(ops);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		if (is_syn(ops))
			write_request(ops);
		else if (is_syn_ack(ops))
			write_reply(ops);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		on_active_established(ops);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		on_passive_established(ops);
		break;
	case BPF_SOCK_OPS_RTO_CB:
		on_timeout(ops);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ops->args[1] == BPF_TCP_CLOSE)
			on_closed(ops);
		break;
	}
	return 1;
}
