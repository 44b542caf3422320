/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A copy of what a server sends through a spliced connection, for who wants to keep it (node/taps.ts). The segment goes
 * on whatever becomes of the copy; one copy that finds no room ends the copying for good, since what is left would have
 * a hole. Only entries with TPOT_SPLICE_TAPPED come here.
 */
#ifndef TPOT_TAP_H
#define TPOT_TAP_H

/* Payload of a record: of a segment as it is on most wires, and of a part of one that is still to be cut (GSO). */
#define TAP_SMALL 2048 /* powers of two */
#define TAP_LARGE 16384
#define TAP_PIECES 5 /* of TAP_LARGE: more than a packet has */

struct tap_head {
	__u64 id;       /* `started_ns` of the entry */
	__u32 sequence; /* of the first byte, as it arrived */
	__u32 length;   /* of what is used of the record */
};

struct tap_small {
	struct tap_head head;
	__u8 bytes[TAP_SMALL];
};

struct tap_large {
	struct tap_head head;
	__u8 bytes[TAP_LARGE];
};

/*
 * User space makes it larger where it wants copies (`cache.tapAbove`), and looks into it by itself: no wake-ups. The
 * size here is the smallest that is right for every size of pages.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} tpot_taps SEC(".maps");

static __always_inline void fill_head(struct tap_head *head, const struct tpot_splice *splice, __u32 sequence, __u32 length)
{
	head->id = splice->started_ns;
	head->sequence = sequence;
	head->length = length;
}

/* `length` bytes of the frame, at least one, into a record of the ring. Whether they are there. */
static __noinline int tap_small_piece(struct __sk_buff *skb, const struct tpot_splice *splice, __u32 at, __u32 sequence,
				      __u32 length)
{
	struct tap_small *record;

	if (!splice)
		return 0;
	record = bpf_ringbuf_reserve(&tpot_taps, sizeof(*record), 0);
	if (!record)
		return 0;
	fill_head(&record->head, splice, sequence, length);
	asm volatile("" : "+r"(length));
	if (bpf_skb_load_bytes(skb, at, record->bytes, ((length - 1) & (TAP_SMALL - 1)) + 1)) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return 0;
	}
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

static __noinline int tap_large_piece(struct __sk_buff *skb, const struct tpot_splice *splice, __u32 at, __u32 sequence,
				      __u32 length)
{
	struct tap_large *record;

	if (!splice)
		return 0;
	record = bpf_ringbuf_reserve(&tpot_taps, sizeof(*record), 0);
	if (!record)
		return 0;
	fill_head(&record->head, splice, sequence, length);
	asm volatile("" : "+r"(length));
	if (bpf_skb_load_bytes(skb, at, record->bytes, ((length - 1) & (TAP_LARGE - 1)) + 1)) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return 0;
	}
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

static __always_inline int copy_payload(struct __sk_buff *skb, const struct tpot_splice *splice, __u32 at, __u32 sequence,
					__u32 left)
{
	for (int i = 0; i < TAP_PIECES && left > 0; i++) {
		__u32 length = left > TAP_LARGE ? TAP_LARGE : left;

		if (!(length > TAP_SMALL ? tap_large_piece(skb, splice, at, sequence, length)
					 : tap_small_piece(skb, splice, at, sequence, length)))
			return 0;
		at += length;
		sequence += length;
		left -= length;
	}
	return left == 0;
}

/* Not static, so that the verifier looks at it once and not at every place that leads here. */
__noinline int tap_segment(struct __sk_buff *skb, const struct packet *p, struct tpot_splice *splice)
{
	__u32 at;

	if (!p || !splice)
		return 0;
	at = p->l4 + p->tcp_header_len;
	if (at >= p->end)
		return 0;
	/* Urgent data is none of the stream for some receivers, and is for others (RFC 6093). */
	if (!(p->flags & TCP_URG) && copy_payload(skb, splice, at, p->seq, p->end - at)) {
		count(TPOT_R_TAP_COPIED);
		return 1;
	}
	/* Atomic, for a FIN of the other direction may be noted just now. */
	__sync_fetch_and_and((__u32 *)&splice->flags, ~(__u32)TPOT_SPLICE_TAPPED);
	count(TPOT_R_TAP_LOST);
	return 0;
}

#endif
