/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Segments that came while their connection was being handed over. They are dropped, so that the receive queue stays as
 * it is; a copy goes to user space, which sends it on when the hand-over is done. What finds no room is sent again by
 * its sender, some 200 ms later.
 */
#ifndef TPOT_KEEP_H
#define TPOT_KEEP_H

/* A packet that came during a hold. */
struct tpot_held {
	__u32 length;
	__u8 packet[TPOT_HELD_BYTES]; /* from its IP header on */
};

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, TPOT_MAX_HELD);
	__type(value, struct tpot_held);
} tpot_held SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tpot_held);
} tpot_held_scratch SEC(".maps");

/* Copies the packet from its (inner) IP header on. */
static __noinline int keep_segment(struct __sk_buff *skb, const struct packet *p)
{
	__u32 zero = 0, length;
	struct tpot_held *held = bpf_map_lookup_elem(&tpot_held_scratch, &zero);

	if (!held || !p)
		return 0;
	length = p->end - p->l3;
	if (length < IPV4_HLEN || length > TPOT_HELD_BYTES - 1)
		return 0;
	length &= TPOT_HELD_BYTES - 1;
	if (length == 0 || bpf_skb_load_bytes(skb, p->l3, held->packet, length))
		return 0;
	held->length = length;
	return bpf_map_push_elem(&tpot_held, held, 0) == 0;
}

#endif
