/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How many connections each client has here, so that one of them cannot have all (`limits.perClient`). Only connections
 * made while there is such a limit count, each once, from its handshake to its end, as a spliced one too:
 *
 *   established ─▶ client_came ─▶ tpot_taken.counted ─┬─ socket closed ─────────────────▶ client_left
 *                                                     └─ spliced ─▶ tpot_splice.counted ─ over, or forgotten ─▶ client_left
 *
 * Where two processors meet in an entry that goes, one connection is not counted: never one too many.
 */
#ifndef TPOT_CLIENT_H
#define TPOT_CLIENT_H

/* An entry for each client with connections; as large as the tables of these, so that it is never full before them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TPOT_MAX_CLIENTS);
	__type(key, struct tpot_address);
	__type(value, __u32);
} tpot_clients SEC(".maps");

/* An IPv6 host has all the addresses of its /64 (RFC 4291 section 2.5.1); tpot/client.ts is the reference. */
static __always_inline void client_of(struct tpot_address *client, const __be32 *source)
{
	copy_address(client->address, source);
	if (!is_mapped_ipv4(source)) {
		client->address[2] = 0;
		client->address[3] = 0;
	}
}

static __always_inline int client_is_full(const __be32 *source, const struct tpot_config *config)
{
	struct tpot_address client;
	__u32 *connections;

	if (config->max_per_client == 0)
		return 0;
	client_of(&client, source);
	connections = bpf_map_lookup_elem(&tpot_clients, &client);
	return connections && *connections >= config->max_per_client;
}

/* Whether the connection counts from now on. */
static __noinline int client_came(const struct tpot_flow *flow)
{
	struct tpot_config *config = config_get();
	struct tpot_address client;
	__u32 *connections, none = 0;

	if (!config || !flow || config->max_per_client == 0)
		return 0;
	client_of(&client, flow->source);
	bpf_map_update_elem(&tpot_clients, &client, &none, BPF_NOEXIST);
	connections = bpf_map_lookup_elem(&tpot_clients, &client);
	if (!connections)
		return 0;
	__sync_fetch_and_add(connections, 1);
	return 1;
}

static __noinline int client_left(const struct tpot_flow *flow)
{
	struct tpot_address client;
	__u32 *connections;

	if (!flow)
		return 0;
	client_of(&client, flow->source);
	connections = bpf_map_lookup_elem(&tpot_clients, &client);
	if (connections && __sync_fetch_and_add(connections, -1) <= 1)
		bpf_map_delete_elem(&tpot_clients, &client);
	return 0;
}

#endif
