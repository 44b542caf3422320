/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Connections that are never taken, whatever the rules say: by prefix of the source or of the destination, and port. */
#ifndef TPOT_BYPASS_H
#define TPOT_BYPASS_H

/* The most specific prefix decides: user space gave it the ports of the wider ones around it too. */
static __noinline int in_bypass(const __be32 *address, enum tpot_bypass_list list, __u32 port)
{
	struct tpot_bypass_key key = { .length = 32 + 128, .list = bpf_htonl(list) };
	struct tpot_bypass *entry;

	if (!address)
		return 0;
	copy_address(key.address, address);
	entry = bpf_map_lookup_elem(&tpot_bypass, &key);
	if (!entry)
		return 0;
	for (int range = 0; range < TPOT_BYPASS_RANGES; range++) {
		if (port >= entry->ports[2 * range] && port <= entry->ports[2 * range + 1])
			return 1;
	}
	return 0;
}

static __always_inline int bypasses(const struct packet *p, __u32 policy)
{
	__u32 list = p->family | (policy >> 31 ? TPOT_BYPASS_BANK : 0), port = bpf_ntohs(p->flow.destination_port);

	return in_bypass(p->flow.destination, list, port) || in_bypass(p->flow.source, list | TPOT_BYPASS_SOURCE, port);
}

#endif
