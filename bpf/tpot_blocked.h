/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A tunnel that does not pass: a reply came, but the node sees nothing of what we send it. As long as it has seen
 * nothing, nothing is lost: the connection goes on in UDP where the node takes that, and where UDP does not pass either
 * it goes on plain, and the node carries on as a transparent proxy (rule 8). tpot/tunnel.ts is the reference.
 *
 *   IP in IP ── unheard, a port was offered ──▶ UDP ── unheard ──▶ plain
 *       └────── unheard, none was ─────────────────────────────────▲
 */
#ifndef TPOT_BLOCKED_H
#define TPOT_BLOCKED_H

/* A node repeats its SYN-ACK after 1 s and 3 s: one repetition is a lost packet, two are a blocked tunnel. */
#define TPOT_UNHEARD_SYN_ACKS 2
/* 0.8 s in units of coarse_instant(), which begins anew every 17 s: longer than the first three intervals. */
#define TPOT_REPEAT_AFTER 12
/*
 * To go on in UDP is harmless: the node takes both, whatever arrives late. So one repetition is enough when TCP itself has
 * sent its data again twice. To go on plain is not: what arrives late by tunnel makes the node pass plain segments by.
 */
#define TPOT_INSISTENT 2
/* After a silent change: the dup-ACK and what TCP has sent until the next repetition, 2 s or 4 s later, were in UDP. */
#define TPOT_UNHEARD_IN_UDP 1

/*
 * Whether the other side has acknowledged nothing but our SYN and sent nothing but its own; TPOT_INSISTENT when, besides,
 * data was sent again twice. A packet whose acknowledgement is not of what we have sent proves nothing: somebody who sees
 * no packet of ours has made it up.
 */
static __always_inline int unheard(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *sk;
	int result = 0;

	fill_tuple(&tuple, p);
	sk = bpf_sk_lookup_tcp(skb, &tuple, tuple_size(p), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	tcp = bpf_tcp_sock(sk);
	if (tcp)
		result = tcp->bytes_acked <= 1 && tcp->bytes_received == 0 &&
				 p->ack - tcp->snd_una <= tcp->snd_nxt - tcp->snd_una
				 ? tcp->icsk_retransmits >= 2 ? TPOT_INSISTENT : 1
				 : 0;
	bpf_sk_release(sk);
	return result;
}

/* Notes on the socket, for `conns`, how its connection goes on. */
static __noinline int note_way(struct __sk_buff *skb, const struct packet *p, int udp)
{
	if (!p)
		return 0;
	struct bpf_sock_tuple tuple = {};
	struct tpot_socket *socket;
	struct bpf_sock *sk;

	fill_tuple(&tuple, p);
	sk = bpf_sk_lookup_tcp(skb, &tuple, tuple_size(p), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	socket = bpf_sk_storage_get(&tpot_sockets, sk, 0, 0);
	if (socket) {
		socket->udp = udp;
		if (!udp) {
			__builtin_memset(socket->next_hop, 0, sizeof(socket->next_hop));
			socket->leg_reason = TPOT_R_TUNNEL_BLOCKED;
		}
	}
	bpf_sk_release(sk);
	return 0;
}

/* The destination gets no requests for a while. */
static __always_inline void give_tunnel_up(const struct packet *p, struct tpot_tunnel *tunnel,
					   const struct tpot_config *config)
{
	struct tpot_flow flow;

	flow_reverse(&flow, &p->flow);
	tunnel->plain = 1;
	if (tunnel->udp)
		forget_episode(&tpot_udp_nodes, tunnel->remote);
	learn_black_hole(&flow, config);
	count(TPOT_R_TUNNEL_BLOCKED);
}

/*
 * What is tried after the way on which the node has heard nothing. `p` is, or is taken for, a segment that arrives from
 * the node; `repeats`: how many SYN-ACKs may come again in UDP.
 */
static __noinline int change_way(const struct packet *p, struct tpot_tunnel *tunnel, __u32 repeats)
{
	struct tpot_config *config = config_get();

	if (!config || !p || !tunnel)
		return 0;
	if (tunnel->udp || tunnel->udp_port == 0) {
		give_tunnel_up(p, tunnel, config);
		return 0;
	}
	tunnel->udp = 1;
	tunnel->repeats = TPOT_UNHEARD_SYN_ACKS - repeats;
	remember(&tpot_udp_nodes, tunnel->remote, config);
	count(TPOT_R_TUNNEL_UDP);
	return 0;
}

static __always_inline void next_way(struct __sk_buff *skb, const struct packet *p, struct tpot_tunnel *tunnel,
				     __u32 repeats)
{
	change_way(p, tunnel, repeats);
	note_way(skb, p, !tunnel->plain);
}

/*
 * A SYN-ACK of a connection that is pinned already: the node that sent it has not seen our ACK. One that comes sooner than a
 * retransmission timer can send it (RFC 6298: 1 s) is a copy that a link has made, or the answer to one, and proves nothing.
 */
static __always_inline void note_repeated_syn_ack(struct __sk_buff *skb, const struct packet *p,
						  const struct option_scan *scan, struct tpot_tunnel *tunnel)
{
	/* Another node's answer to the same SYN says nothing about this tunnel. */
	if (tunnel->plain || !same_address(scan->reply_address, tunnel->remote))
		return;
	__u8 now = coarse_instant();

	if ((__u8)(now - tunnel->answered) < TPOT_REPEAT_AFTER)
		return;
	tunnel->answered = now;
	tunnel->repeats++;
	if (tunnel->repeats < TPOT_UNHEARD_SYN_ACKS && (tunnel->udp || tunnel->udp_port == 0))
		return;
	if (unheard(skb, p) >= (tunnel->repeats < TPOT_UNHEARD_SYN_ACKS ? TPOT_INSISTENT : 1))
		next_way(skb, p, tunnel, TPOT_UNHEARD_IN_UDP);
}

#endif
