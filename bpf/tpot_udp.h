/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Tunnels in UDP, for paths on which IP in IP does not pass: the inner packet stands behind the UDP header as it is. That
 * is variant 1 of GUE (draft-ietf-intarea-gue-09), and what FOU sends: the first nibble, the version of the inner IP
 * header, says that no other header follows. wire/udp-tunnel.ts is the reference.
 *
 *   | outer IP | source port: entropy, destination port: the node's, length, checksum 0 | inner IP | TCP |
 */
#ifndef TPOT_UDP_H
#define TPOT_UDP_H

/* Fragments are not looked at: nobody knows what port the later ones are for, and no source of ours sends any. */
static __always_inline int is_udp_to_port(struct __sk_buff *skb, const struct packet *p, __be16 port)
{
	__be16 destination;

	if (p->protocol != IPPROTO_UDP_ || port == 0 || !p->sound)
		return 0;
	if (bpf_skb_load_bytes(skb, p->l4 + 2, &destination, sizeof(destination)))
		return 0;
	return destination == port;
}

/* RFC 6056 calls these ports dynamic. One connection keeps its port, so that routers which spread flows do not reorder. */
static __always_inline __be16 entropy_port(__be16 source_port, __be16 destination_port, const struct tpot_flow *flow)
{
	__u32 mixed = (__u32)bpf_ntohs(source_port) << 16 | bpf_ntohs(destination_port);

	for (int i = 0; i < 4; i++)
		mixed ^= bpf_ntohl(flow->source[i]) ^ bpf_ntohl(flow->destination[i]);
	mixed *= 0x9e3779b1; /* Knuth, multiplicative hashing: the upper bits depend on all */
	return bpf_htons(TPOT_UDP_FIRST_SOURCE_PORT | mixed >> 18);
}

/*
 * The checksum is 0, in IPv6 too (RFC 6935): the TCP checksum inside covers the payload and the addresses, and the node
 * delivers nothing whose addresses and ports are not a connection's (RFC 6936 section 4).
 */
static __always_inline int store_udp(struct __sk_buff *skb, __u32 at, const struct tpot_flow *flow,
				     const struct tpot_tunnel *tunnel, __u32 length)
{
	struct udp udp = { .length = bpf_htons(length) };

	/* A return tunnel is what a stateful filter takes for the answer: the ports of the other direction, exchanged. */
	if (tunnel->back) {
		udp.source = tunnel->udp_port;
		udp.destination = entropy_port(flow->destination_port, flow->source_port, flow);
	} else {
		udp.source = entropy_port(flow->source_port, flow->destination_port, flow);
		udp.destination = tunnel->udp_port;
	}

	return bpf_skb_store_bytes(skb, at, &udp, sizeof(udp), 0);
}

/* The port that a node offers in its reply. */
static __always_inline __be16 offered_udp_port(const struct option_scan *scan)
{
	return scan->has_reply == 6 ? bpf_htons(TPOT_UDP_PORT) : scan->reply_udp_port;
}

#endif
