/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What is remembered of addresses for a while, in tables of `struct tpot_episode`: for as long as black holes, 10 minutes,
 * each further time twice as long, up to 24 hours.
 */
#ifndef TPOT_EPISODE_H
#define TPOT_EPISODE_H

static __always_inline int is_remembered(void *table, const __be32 *address)
{
	struct tpot_address key;

	copy_address(key.address, address);
	struct tpot_episode *known = bpf_map_lookup_elem(table, &key);

	return known && known->until_ns > bpf_ktime_get_ns();
}

static __always_inline void remember(void *table, const __be32 *address, const struct tpot_config *config)
{
	struct tpot_episode entry = { .seconds = config->black_hole_first_seconds };
	struct tpot_address key;

	copy_address(key.address, address);
	struct tpot_episode *known = bpf_map_lookup_elem(table, &key);

	if (known && known->until_ns > bpf_ktime_get_ns())
		return; /* another connection of the same moment has learned it */
	if (known) {
		entry.seconds = known->seconds * 2;
		if (entry.seconds > config->black_hole_max_seconds)
			entry.seconds = config->black_hole_max_seconds;
	}
	entry.until_ns = bpf_ktime_get_ns() + entry.seconds * 1000000000ULL;
	bpf_map_update_elem(table, &key, &entry, BPF_ANY);
}

static __always_inline void forget_episode(void *table, const __be32 *address)
{
	struct tpot_address key;

	copy_address(key.address, address);
	bpf_map_delete_elem(table, &key);
}

#endif
