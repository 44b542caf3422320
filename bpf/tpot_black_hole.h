/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Destinations that get no requests for a while, because on the way there a request or its tunnel does not pass. */
#ifndef TPOT_BLACK_HOLE_H
#define TPOT_BLACK_HOLE_H

#define NS_PER_SECOND 1000000000ULL

static __always_inline int in_black_hole(const struct tpot_flow *flow)
{
	struct tpot_address key;

	copy_address(key.address, flow->destination);
	struct tpot_black_hole *hole = bpf_map_lookup_elem(&tpot_black_holes, &key);

	return hole && hole->until_ns > bpf_ktime_get_ns();
}

/* Rule 1: a SYN without the request was answered after SYNs with it were not. 10 minutes, doubling to 24 hours. */
static __always_inline void learn_black_hole(const struct tpot_flow *flow, const struct tpot_config *config)
{
	struct tpot_black_hole hole = { .seconds = config->black_hole_first_seconds, .times = 1 };
	struct tpot_address key;

	copy_address(key.address, flow->destination);
	struct tpot_black_hole *known = bpf_map_lookup_elem(&tpot_black_holes, &key);

	count(TPOT_R_BLACK_HOLE_LEARNED);
	if (known && known->until_ns > bpf_ktime_get_ns())
		return; /* another connection of the same moment has learned it */
	if (known) {
		hole.seconds = known->seconds * 2;
		hole.times = known->times + 1;
		if (hole.seconds > config->black_hole_max_seconds)
			hole.seconds = config->black_hole_max_seconds;
	}
	hole.until_ns = bpf_ktime_get_ns() + hole.seconds * NS_PER_SECOND;
	bpf_map_update_elem(&tpot_black_holes, &key, &hole, BPF_ANY);
}

static __always_inline void forget_black_hole(const struct tpot_flow *flow)
{
	struct tpot_address key;

	copy_address(key.address, flow->destination);
	if (bpf_map_lookup_elem(&tpot_black_holes, &key))
		bpf_map_delete_elem(&tpot_black_holes, &key);
}

#endif
