/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How a spliced connection ends. No socket follows it, so the entries do, and the node forgets them a while after. What is
 * noted has to fit what the two ends have sent and acknowledged: nobody who just guesses addresses and ports ends anything.
 *
 *   FIN from A ─▶ entry of B: PEER_FIN, which number acknowledges it ─▶ ACK of that from B: PEER_DONE ─┬─▶ over
 *   the same from B ───────────────────────────────────────────────────────────────────────────────────┘
 *   RST from A ─▶ entry of B: RESET ─▶ over
 */
#ifndef TPOT_END_H
#define TPOT_END_H

/* Bytes on their way: as many as a sender has by default at most, and as many as a window allows (RFC 7323 section 2.3). */
#define MAX_FLIGHT (1U << 22)
#define MAX_WINDOW (1U << 30)

static __always_inline struct tpot_splice *other_direction(const struct tpot_splice *splice)
{
	struct tpot_flow key;

	flow_reverse(&key, &splice->out);
	return bpf_map_lookup_elem(&tpot_splices, &key);
}

/* Both directions note something in one entry, on two processors maybe. */
static __always_inline void add_flags(struct tpot_splice *splice, __u32 flags)
{
	__sync_fetch_and_or((__u32 *)&splice->flags, flags);
}

static __always_inline void take_flags(struct tpot_splice *splice, __u32 flags)
{
	__sync_fetch_and_and((__u32 *)&splice->flags, ~flags);
}

static __always_inline int is_over(const struct tpot_splice *splice, const struct tpot_splice *other)
{
	return ((splice->flags | other->flags) & TPOT_SPLICE_RESET) || (splice->flags & other->flags & TPOT_SPLICE_PEER_DONE);
}

/* A connection that is over counts no more for its client, though its entries stay a while. */
static __always_inline void count_end(const struct packet *p, struct tpot_splice *splice, struct tpot_splice *other)
{
	struct tpot_flow flow;

	if (splice->counted)
		client_left(&p->flow);
	if (other->counted) {
		flow_reverse(&flow, &splice->out);
		client_left(&flow);
	}
	splice->counted = 0;
	other->counted = 0;
}

/*
 * Whether a RST is the end, its receiver knows. It takes one at the very next number that it expects (RFC 5961 section
 * 3.2), which is what it has acknowledged, or more, when that is not here yet. Only of what is on its way is that possible;
 * and if it was not so it answers, which takes the note back. Whoever does not see the packets, and guesses ports,
 * makes the node forget nothing.
 */
static __always_inline void note_reset(const struct packet *p, const struct tpot_splice *splice, struct tpot_splice *other)
{
	__u32 acknowledged = other->acknowledged - splice->sequence_delta; /* in the numbers of `p` */
	__u32 ahead = p->seq - acknowledged;
	__s32 on_its_way = splice->sent + 1 - acknowledged; /* it may have been a FIN */

	if (ahead == 0) {
		add_flags(other, TPOT_SPLICE_RESET);
		take_flags(other, TPOT_SPLICE_DOUBTFUL);
	} else if (ahead <= MAX_FLIGHT && (__s32)ahead <= on_its_way && !(other->flags & TPOT_SPLICE_RESET)) {
		add_flags(other, TPOT_SPLICE_RESET | TPOT_SPLICE_DOUBTFUL);
	}
}

/* A FIN behind everything that `other` has acknowledged, and within the largest window. */
static __always_inline void note_fin(struct tpot_splice *other, __u32 fin)
{
	if (fin - other->acknowledged > MAX_WINDOW)
		return;
	other->peer_fin = fin + 1;
	add_flags(other, TPOT_SPLICE_PEER_FIN);
}

/* How far the connection is on its way to its end: who ages the entries reads it. */
static __noinline int follow_end(const struct packet *p, struct tpot_splice *splice, __u32 payload)
{
	struct tpot_splice *other;
	int done;

	if (!p || !splice)
		return 0;
	/* Nothing comes behind a FIN, so nobody acknowledges more. */
	done = (splice->flags & TPOT_SPLICE_PEER_FIN) && (p->flags & TCP_ACK) && p->ack == splice->peer_fin;
	if (done)
		add_flags(splice, TPOT_SPLICE_PEER_DONE);
	if ((splice->flags & TPOT_SPLICE_DOUBTFUL) && !(p->flags & TCP_RST))
		take_flags(splice, TPOT_SPLICE_RESET | TPOT_SPLICE_DOUBTFUL);
	if (!done && !(p->flags & (TCP_FIN | TCP_RST)))
		return 0;
	other = other_direction(splice);
	if (!other)
		return 0;
	if (p->flags & TCP_FIN)
		note_fin(other, p->seq + payload + splice->sequence_delta);
	if (p->flags & TCP_RST)
		note_reset(p, splice, other);
	if ((splice->counted || other->counted) && is_over(splice, other))
		count_end(p, splice, other);
	return 0;
}

#endif
