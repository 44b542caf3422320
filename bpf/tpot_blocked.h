/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A tunnel that does not pass: a reply came, but the node sees nothing of what we send it. As long as it has seen
 * nothing, nothing is lost: the connection goes on plain, and the node carries on as a transparent proxy (rule 8).
 */
#ifndef TPOT_BLOCKED_H
#define TPOT_BLOCKED_H

/* A node repeats its SYN-ACK after 1 s and 3 s: one repetition is a lost packet, two are a blocked tunnel. */
#define TPOT_UNHEARD_SYN_ACKS 2

/*
 * Whether the other side has acknowledged nothing but our SYN and sent nothing but its own. A packet whose acknowledgement
 * is not of what we have sent proves nothing: somebody who sees no packet of ours has made it up.
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
		result = tcp->bytes_acked <= 1 && tcp->bytes_received == 0 && p->ack - tcp->snd_una <= tcp->snd_nxt - tcp->snd_una;
	bpf_sk_release(sk);
	return result;
}

/* Notes on the socket, for `conns`, that its connection is plain after all. */
static __always_inline void note_blocked(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	struct tpot_socket *socket;
	struct bpf_sock *sk;

	fill_tuple(&tuple, p);
	sk = bpf_sk_lookup_tcp(skb, &tuple, tuple_size(p), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return;
	socket = bpf_sk_storage_get(&tpot_sockets, sk, 0, 0);
	if (socket) {
		__builtin_memset(socket->next_hop, 0, sizeof(socket->next_hop));
		socket->leg_reason = TPOT_R_TUNNEL_BLOCKED;
	}
	bpf_sk_release(sk);
}

/* `p` is, or is taken for, a segment that arrives from the node. The destination gets no requests for a while. */
static __noinline int give_tunnel_up(struct __sk_buff *skb, const struct packet *p, struct tpot_tunnel *tunnel)
{
	struct tpot_config *config = config_get();
	struct tpot_flow flow;

	if (!config || !p || !tunnel)
		return 0;
	flow_reverse(&flow, &p->flow);
	tunnel->plain = 1;
	learn_black_hole(&flow, config);
	note_blocked(skb, p);
	count(TPOT_R_TUNNEL_BLOCKED);
	return 0;
}

/* A SYN-ACK of a connection that is pinned already: the node that sent it has not seen our ACK. */
static __always_inline void note_repeated_syn_ack(struct __sk_buff *skb, const struct packet *p,
						  const struct option_scan *scan, struct tpot_tunnel *tunnel)
{
	/* Another node's answer to the same SYN says nothing about this tunnel. */
	if (tunnel->plain || !same_address(scan->reply_address, tunnel->remote))
		return;
	if (++tunnel->repeats >= TPOT_UNHEARD_SYN_ACKS && unheard(skb, p))
		give_tunnel_up(skb, p, tunnel);
}

#endif
