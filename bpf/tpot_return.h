/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Return tunnels (protocol rule 13). A stateful filter between a source and its node sees the SYN and the answer, but none
 * of the acknowledgments, which are in the tunnel: when the window that it has seen is full it drops what the node sends.
 * It knows the tunnel, though, and lets answer what its source sends there. So where a source can take it, a node whose
 * segments stay without an answer goes on in the other direction of that tunnel. tpot/return.ts is the reference.
 *
 *   plain ── a sign that nothing gets through ──▶ return tunnel ── TPOT_SIGNS_TO_LEAVE more ──▶ plain ── as many ──▶ …
 *                                                   │ its source goes on soon
 *                                                   └──▶ remembered: for 10 minutes its connections begin there
 *
 * Signs are, of a connection that has its socket: its retransmission timer runs out twice in a row, or its source sends the
 * same segment for the third time in a row, having heard nothing of its arrival. Of a spliced one: see note_sent_again;
 * nothing is remembered of these, for every node of a chain sees the same, and only one of them has the filter before it.
 */
#ifndef TPOT_RETURN_H
#define TPOT_RETURN_H

/* The first timeout may be a lost segment. What the kernel counts begins with 0. */
#define TPOT_TIMEOUT_IN_A_ROW 1
/* Links make copies, and acknowledgments are lost: once is no sign. */
#define TPOT_SENT_AGAIN 2
/*
 * The next node of a chain may have to find out the same, so the tunnel, which is the likelier way by then, is kept for some
 * more signs. Both directions show them: those within 1 s, in units of coarse_instant(), are one.
 */
#define TPOT_SIGNS_TO_LEAVE 4
#define TPOT_ONE_SIGN 15
/* Of a spliced connection: nothing has come from its client for 0.5 s, in units of 2^26 ns; else something gets through. */
#define TPOT_SILENCE 8
/* Segments between two signs: by a way that does not get through there leave two at most. */
#define TPOT_RETURN_MOVES 8
/* Signs after the one with which a return tunnel has begun, when it is answered soon. */
#define TPOT_SOON 1

/* The outer source is the inner one, so that a node needs no second address to check; a return tunnel is the node's. */
static __always_inline __be32 outer_source4(const struct tpot_flow *flow, const struct tpot_tunnel *tunnel)
{
	struct tpot_config *config = tunnel->back ? config_get() : 0;

	return config ? config->address4 : flow->source[3];
}

static __always_inline void outer_source6(__be32 *source, const struct tpot_flow *flow, const struct tpot_tunnel *tunnel)
{
	struct tpot_config *config = tunnel->back ? config_get() : 0;

	copy_address(source, config ? config->address6 : flow->source);
}

/* What a sign is of: how the source sends, whether the flow is the one from it, and above that its largest packet. */
#define STALL_IN_IP 1
#define STALL_IN_UDP 2
#define STALL_REVERSED 4
#define STALL_LARGEST 16 /* shift */

/*
 * The largest packet that is known to pass to a source, by the MSS of its SYN: where routers have set that, they may drop what
 * is larger without a word. 0: not known.
 */
static __always_inline __u32 largest_packet(const __be32 *source, __u32 segment)
{
	return segment == 0 ? 0 : segment + (is_mapped_ipv4(source) ? IPV4_HLEN : IPV6_HLEN);
}

/* Whether a segment that leaves as `out` is in a return tunnel from now on. */
static __always_inline int open_return(const struct tpot_flow *out, __u32 what, __u32 repeats)
{
	struct tpot_tunnel tunnel = {
		.back = 1,
		.udp = (what & STALL_IN_UDP) != 0,
		.repeats = repeats,
		.largest = what >> STALL_LARGEST,
		.answered = coarse_instant(),
	};
	struct tpot_config *config = config_get();
	struct tpot_gauges *gauges = gauges_get();

	if (!config || !gauges)
		return 0;
	tunnel.udp_port = config->udp_port;
	copy_address(tunnel.remote, out->destination);
	use_tables(TPOT_UNUSED_TUNNELS);
	/* The other half is for next hops: an outage of many sources at once must not take the tunnels of further ones. */
	if (gauges->tunnels >= config->max_tunnels / 2 || bpf_map_update_elem(&tpot_tunnels, out, &tunnel, BPF_NOEXIST)) {
		count(TPOT_R_TABLE_FULL);
		return 0;
	}
	add_tunnels(1);
	return 1;
}

#define RETURN_STAYS 0
#define RETURN_BEGINS 1 /* it goes on in the tunnel, */
#define RETURN_ENDS 2   /* or plain, as it has begun */

/* A sign that what leaves as this flow does not get through: RETURN_*. */
static __noinline int note_stall(const struct tpot_flow *flow, __u32 what)
{
	struct tpot_tunnel *tunnel;
	struct tpot_flow out;

	if (!flow)
		return RETURN_STAYS;
	if (what & STALL_REVERSED)
		flow_reverse(&out, flow);
	else
		out = *flow; /* verifiers of before Linux 6.2 want a key on the stack */
	tunnel = bpf_map_lookup_elem(&tpot_tunnels, &out);
	if (!tunnel) {
		if (!open_return(&out, what, 0))
			return RETURN_STAYS;
		count(TPOT_R_RETURN_TUNNEL);
		return RETURN_BEGINS;
	}
	if (!tunnel->back)
		return RETURN_STAYS;
	__u8 now = coarse_instant();

	if ((__u8)(now - tunnel->answered) < TPOT_ONE_SIGN)
		return RETURN_STAYS;
	tunnel->answered = now;
	tunnel->stalls = tunnel->repeats >= TPOT_RETURN_MOVES ? 1 : tunnel->stalls + 1;
	tunnel->repeats = 0;
	if (tunnel->stalls < TPOT_SIGNS_TO_LEAVE)
		return RETURN_STAYS;
	tunnel->stalls = 0;
	tunnel->udp = (what & STALL_IN_UDP) != 0; /* as its source sends, who may have changed that */
	tunnel->plain = !tunnel->plain;
	if (!tunnel->plain)
		return RETURN_BEGINS;
	forget_episode(&tpot_return_sources, tunnel->remote);
	count(TPOT_R_RETURN_GIVEN_UP);
	return RETURN_ENDS;
}

/* A segment is about to leave, in a return tunnel or where one was left: after some the next sign is not one more in a row. */
static __always_inline void note_returned(struct tpot_tunnel *tunnel)
{
	if (tunnel->repeats < TPOT_RETURN_MOVES)
		tunnel->repeats++;
}

/* Whether the source of a taken connection has said that it takes return tunnels, and we have accepted. */
static __always_inline int takes_returns(const struct tpot_taken *taken)
{
	return taken->state == TPOT_STATE_TUNNELLED && (taken->capabilities & TPOT_CAPABILITY_RETURN);
}

/* How a taken connection's source sends, and its largest packet. */
static __always_inline __u32 stall_of(const struct tpot_taken *taken)
{
	__u32 segment = taken->mss == 0 ? 0 : taken->mss + TCP_HLEN;

	return (taken->udp ? STALL_IN_UDP : STALL_IN_IP) | largest_packet(taken->outer_source, segment) << STALL_LARGEST;
}

/* A connection of a source that has needed one begins in a return tunnel. */
static __always_inline int begin_returned(const struct tpot_flow *flow, const struct tpot_taken *taken)
{
	struct tpot_flow out;

	if (!is_remembered(&tpot_return_sources, flow->source))
		return 0;
	flow_reverse(&out, flow);
	if (!open_return(&out, stall_of(taken), TPOT_RETURN_MOVES))
		return 0;
	count(TPOT_R_RETURN_REMEMBERED);
	return 1;
}

/* The same for a connection that has its socket; `acknowledged`: by its source. */
static __always_inline void note_stalled(struct tpot_taken *taken, const struct tpot_flow *flow, __u32 what, __u32 acknowledged)
{
	int way = note_stall(flow, what | stall_of(taken));

	if (way == RETURN_STAYS)
		return;
	taken->returning = way == RETURN_BEGINS; /* what arrives plain says nothing for the tunnel */
	taken->acknowledged = acknowledged;
}

/*
 * Whether a segment has arrived before, and what it acknowledges has been sent: so much is known to nobody who has seen no
 * segment of the connection, only its addresses and ports.
 */
static __noinline int is_heard(struct __sk_buff *skb, const struct packet *p)
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
	if (tcp)
		result = tcp->rcv_nxt - (p->seq + payload_of(p)) <= MAX_FLIGHT && tcp->snd_nxt - p->ack <= MAX_FLIGHT;
	bpf_sk_release(sk);
	return result;
}

/* The third time in a row that a segment comes: its source hears nothing of us. */
static __noinline int note_again(struct __sk_buff *skb, const struct packet *p, struct tpot_taken *taken)
{
	if (!p || !taken)
		return 0;
	taken->again++;
	if (taken->again >= TPOT_SENT_AGAIN && takes_returns(taken) && is_heard(skb, p))
		note_stalled(taken, &p->flow, STALL_REVERSED, p->ack);
	return 0;
}

/*
 * What has been sent in a return tunnel has arrived: its source goes on. That was the tunnel's doing if it came soon; what
 * took more signs than one was something else, as a path that drops large packets until TCP has found out.
 */
static __noinline int note_answered(const struct packet *p, struct tpot_taken *taken)
{
	struct tpot_config *config = config_get();
	struct tpot_tunnel *tunnel;
	struct tpot_flow out;

	if (!p || !taken || !config)
		return 0;
	taken->returning = 0;
	flow_reverse(&out, &p->flow);
	tunnel = bpf_map_lookup_elem(&tpot_tunnels, &out);
	if (tunnel && tunnel->stalls <= TPOT_SOON)
		remember(&tpot_return_sources, taken->outer_source, config);
	return 0;
}

/* A segment of a taken connection has come in its tunnel. */
static __always_inline void follow_source(struct __sk_buff *skb, const struct packet *p, struct tpot_taken *taken, __u32 payload)
{
	if (taken->returning && ((__s32)(p->ack - taken->acknowledged) > 0 || (payload > 0 && (__s32)(p->seq - taken->last) > 0)))
		note_answered(p, taken);
	if (payload == 0)
		return;
	if (p->seq == taken->last) {
		note_again(skb, p, taken);
		return;
	}
	taken->last = p->seq;
	taken->again = 0;
}

/*
 * A segment of a spliced connection comes again. From the server: where it is the first that the client has not acknowledged,
 * and nothing comes from there, it does not get through. From the client: where the server has acknowledged it, that does
 * not get through. What is to be noted then (STALL_*), for the caller to do it: a chain of calls has 512 bytes of stack.
 */
static __noinline int note_sent_again(const struct packet *p, struct tpot_splice *splice, __u32 payload)
{
	struct tpot_splice *other, *from_client, *to_client;
	__u32 expected, mark, what = 0;

	if (!p || !splice)
		return 0;
	other = other_direction(splice);
	if (!other)
		return 0;
	expected = other->acknowledged - splice->sequence_delta; /* in the numbers of `p` */
	if (splice->flags & TPOT_SPLICE_FROM_CLIENT) {
		if (expected - (p->seq + payload) > MAX_FLIGHT) /* not acknowledged, or made up */
			return 0;
		from_client = splice;
		to_client = other;
		mark = p->seq;
		what = STALL_REVERSED;
	} else {
		if (expected - p->seq >= payload)
			return 0;
		from_client = other;
		to_client = splice;
		mark = expected;
	}
	if (splice->stalled != mark || splice->stalls == 0) {
		splice->stalled = mark;
		splice->stalls = 1;
		return 0;
	}
	if (splice->stalls < TPOT_SENT_AGAIN)
		splice->stalls++;
	if (!what && (bpf_ktime_get_coarse_ns() - other->seen_ns) >> 26 < TPOT_SILENCE)
		return 0;
	what |= from_client->flags & TPOT_SPLICE_UDP ? STALL_IN_UDP : STALL_IN_IP;
	return what | largest_packet(p->flow.source, to_client->max_segment) << STALL_LARGEST;
}

#endif
