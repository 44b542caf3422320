/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
#ifndef TPOT_MAPS_H
#define TPOT_MAPS_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tpot_config);
} tpot_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TPOT_R_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} tpot_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tpot_gauges);
} tpot_gauges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * TPOT_POLICY_ROWS);
	__type(key, __u32);
	__type(value, struct tpot_policy_row);
} tpot_policy SEC(".maps");

/* Two banks in one table: the policy word says which counts, so that both are replaced in one store. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TPOT_MAX_BYPASS);
	__type(key, struct tpot_bypass_key);
	__type(value, struct tpot_bypass);
} tpot_bypass SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TPOT_MAX_TRUST);
	__type(key, struct tpot_prefix);
	__type(value, __u32);
} tpot_trust SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TPOT_MAX_OWN);
	__type(key, struct tpot_address);
	__type(value, __u32);
} tpot_own SEC(".maps");

/* Established connections: fixed size, never evicted. At the limit SYNs pass by. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TPOT_MAX_TAKEN);
	__type(key, struct tpot_flow);
	__type(value, struct tpot_taken);
} tpot_taken SEC(".maps");

/* Half-open and just-closed connections: the least recently used go first, so a SYN flood costs no memory. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TPOT_MAX_TRANSIENT);
	__type(key, struct tpot_flow);
	__type(value, struct tpot_taken);
} tpot_transient SEC(".maps");

/* Connections of this machine that are pinned to a next hop. At the limit requests are not sent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TPOT_MAX_TUNNELS);
	__type(key, struct tpot_flow);
	__type(value, struct tpot_tunnel);
} tpot_tunnels SEC(".maps");

/* What TIME_WAIT still sends (RFC 9293 section 3.6.1) goes through the tunnel too. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TPOT_MAX_TUNNELS_CLOSED);
	__type(key, struct tpot_flow);
	__type(value, struct tpot_tunnel);
} tpot_tunnels_closed SEC(".maps");

/* Joined connections, two entries each: never evicted. At the limit connections stay relayed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TPOT_MAX_SPLICES);
	__type(key, struct tpot_flow);
	__type(value, struct tpot_splice);
} tpot_splices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TPOT_MAX_PENDING);
	__type(key, struct tpot_flow);
	__type(value, struct tpot_pending);
} tpot_pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TPOT_MAX_BLACK_HOLES);
	__type(key, struct tpot_address);
	__type(value, struct tpot_black_hole);
} tpot_black_holes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TPOT_MAX_UDP_NODES);
	__type(key, struct tpot_address);
	__type(value, struct tpot_episode);
} tpot_udp_nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TPOT_MAX_RETURN_SOURCES);
	__type(key, struct tpot_address);
	__type(value, struct tpot_episode);
} tpot_return_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tpot_socket);
} tpot_sockets SEC(".maps");

static __always_inline struct tpot_config *config_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tpot_config, &zero);
}

static __always_inline void count(__u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(&tpot_counters, &reason);

	if (counter)
		*counter += 1;
}

static __always_inline struct tpot_gauges *gauges_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tpot_gauges, &zero);
}

static __always_inline void add_taken(__s64 by)
{
	struct tpot_gauges *gauges = gauges_get();

	if (gauges)
		__sync_fetch_and_add(&gauges->taken, by);
}

static __always_inline void add_tunnels(__s64 by)
{
	struct tpot_gauges *gauges = gauges_get();

	if (gauges)
		__sync_fetch_and_add(&gauges->tunnels, by);
}

/* Packets are not made to wait for a look-up in tables that were never used. */
static __always_inline int tables_unused(enum tpot_unused which)
{
	struct tpot_gauges *gauges = gauges_get();

	return gauges && (gauges->unused & which);
}

/* Before the first entry goes in. */
static __always_inline void use_tables(enum tpot_unused which)
{
	struct tpot_gauges *gauges = gauges_get();

	if (gauges && (gauges->unused & which))
		__sync_fetch_and_and((__u32 *)&gauges->unused, ~(__u32)which);
}

#endif
