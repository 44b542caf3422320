/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Return tunnels (protocol rule 13). A stateful filter between a source and its node sees the SYN and the answer, but none
 * of the acknowledgments, which are in the tunnel: when the window that it has seen is full it drops what the node sends.
 * It knows the tunnel, though, and lets answer what its source sends there. So where a source can take it, a node whose
 * segments stay without an answer goes on in the other direction of that tunnel. tpot/return.ts is the reference.
 *
 *   plain ── sent again, TPOT_UNANSWERED_TIMEOUTS ──▶ return tunnel ── the next timeout ──▶ plain …
 *     ▲                                                   │ TPOT_RETURN_PROVEN segments
 *     └─ further connections of the source, 10 minutes ◀──┴─▶ remembered: they begin in a return tunnel
 */
#ifndef TPOT_RETURN_H
#define TPOT_RETURN_H

/* The first timeout may be a lost segment; the one after it changes the way, as does each that follows. */
#define TPOT_UNANSWERED_TIMEOUTS 1
/* Of a spliced connection, segments at the edge of what is acknowledged: one may be a fast retransmission. */
#define TPOT_SENT_AGAIN 3
/* A way that does not get through sees one segment for each timeout, and is left at the next. */
#define TPOT_RETURN_PROVEN 8

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

/* Whether a segment that leaves as `out` is in a return tunnel from now on. */
static __always_inline int open_return(const struct tpot_flow *out, int udp, __u32 repeats)
{
	struct tpot_tunnel tunnel = { .back = 1, .udp = udp, .repeats = repeats };
	struct tpot_config *config = config_get();
	struct tpot_gauges *gauges = gauges_get();

	if (!config || !gauges)
		return 0;
	tunnel.udp_port = config->udp_port;
	copy_address(tunnel.remote, out->destination);
	use_tables(TPOT_UNUSED_TUNNELS);
	if (gauges->tunnels >= config->max_tunnels || bpf_map_update_elem(&tpot_tunnels, out, &tunnel, BPF_NOEXIST)) {
		count(TPOT_R_TABLE_FULL);
		return 0;
	}
	add_tunnels(1);
	return 1;
}

/* The way that nothing has got through is left for the other one. Whether that is the tunnel. */
static __noinline int change_return(const struct tpot_flow *flow, int udp)
{
	struct tpot_tunnel *tunnel;
	struct tpot_flow out;

	if (!flow)
		return 0;
	out = *flow; /* verifiers of before Linux 6.2 want a key on the stack */
	tunnel = bpf_map_lookup_elem(&tpot_tunnels, &out);
	if (!tunnel) {
		if (!open_return(&out, udp, 0))
			return 0;
		count(TPOT_R_RETURN_TUNNEL);
		return 1;
	}
	if (!tunnel->back)
		return 0;
	tunnel->udp = udp; /* as its source sends, who may have changed that */
	tunnel->repeats = 0;
	tunnel->plain = !tunnel->plain;
	if (tunnel->plain) {
		forget_episode(&tpot_return_sources, tunnel->remote);
		count(TPOT_R_RETURN_GIVEN_UP);
	}
	return !tunnel->plain;
}

/* A segment is about to leave in a return tunnel: after some of them that way is known to get through. */
static __always_inline void note_returned(struct tpot_tunnel *tunnel)
{
	struct tpot_config *config;

	if (tunnel->repeats >= TPOT_RETURN_PROVEN)
		return;
	config = config_get();
	tunnel->repeats++;
	if (config && tunnel->repeats == TPOT_RETURN_PROVEN)
		remember(&tpot_return_sources, tunnel->remote, config);
}

/* Whether the source of a taken connection has said that it takes return tunnels, and we have accepted. */
static __always_inline int takes_returns(const struct tpot_taken *taken)
{
	return taken->state == TPOT_STATE_TUNNELLED && (taken->capabilities & TPOT_CAPABILITY_RETURN);
}

/* A connection of a source that has needed one begins in a return tunnel. */
static __always_inline int begin_returned(const struct tpot_flow *taken, int udp)
{
	struct tpot_flow out;

	if (!is_remembered(&tpot_return_sources, taken->source))
		return 0;
	flow_reverse(&out, taken);
	if (!open_return(&out, udp, TPOT_RETURN_PROVEN))
		return 0;
	count(TPOT_R_RETURN_REMEMBERED);
	return 1;
}

/*
 * A segment of a spliced connection comes again. Where it is the first that its receiver has not acknowledged, some
 * times in a row, nothing gets through: the receiver would have said at least that something is missing. Whether that
 * is so, for the caller to change the way: a chain of calls has 512 bytes of stack.
 */
#define WAY_IN_IP 1
#define WAY_IN_UDP 2

static __noinline int note_sent_again(const struct packet *p, struct tpot_splice *splice, __u32 payload)
{
	struct tpot_splice *other;
	__u32 expected;

	if (!p || !splice)
		return 0;
	other = other_direction(splice);
	if (!other)
		return 0;
	expected = other->acknowledged - splice->sequence_delta; /* in the numbers of `p` */
	if (expected - p->seq >= payload)
		return 0;
	if (splice->stalled != expected || splice->stalls == 0) {
		splice->stalled = expected;
		splice->stalls = 1;
		return 0;
	}
	if (splice->stalls + 1 >= TPOT_SENT_AGAIN)
		return other->flags & TPOT_SPLICE_UDP ? WAY_IN_UDP : WAY_IN_IP;
	splice->stalls++;
	return 0;
}

#endif
