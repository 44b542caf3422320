/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * "Too big" about a segment that was mapped: it quotes what left here, and its sender wants to read what it sent.
 * splice/path-mtu.ts is the reference.
 *
 *   IP router→us | ICMP, MTU m         | [outer IP] | IP, TCP as they left here …
 *   IP us→sender | ICMP, MTU m − outer |              IP, ports and sequence number as the sender sent them …
 *
 * It counts when all of it fits the connection: addresses and ports, the far end of the tunnel, a sequence number that
 * is sent and not acknowledged (RFC 5927 section 4.1), and an MTU below what is known. So each one lowers
 * `max_segment`, a few times in the life of a connection. Unreachable errors are soft ones (RFC 5927 section 6): the ends
 * find out by their retransmissions.
 */
#ifndef TPOT_PATH_MTU_H
#define TPOT_PATH_MTU_H

/* What a router before RFC 1191 may have meant. */
#define OLD_ROUTER_MTU 576

struct translation {
	__u64 sum; /* of what changed in the quotation */
	__u32 mtu;
};

/* The MTU for packets without the outer header; 0: not to be believed. */
static __always_inline __u32 inner_mtu(const struct packet *p, const struct icmp *icmp, __u32 outer)
{
	__u32 mtu = bpf_ntohl(icmp->rest);

	if (p->family == 6)
		return mtu < MIN_MTU6 || mtu > 0xffff ? 0 : mtu - outer;
	mtu &= 0xffff;
	mtu = mtu == 0 ? OLD_ROUTER_MTU : mtu;
	return mtu > outer + IPV4_HLEN ? mtu - outer : 0;
}

/*
 * Whether a segment that begins here, in the numbers of the leg it left by, is on its way. What was sent last may be somebody's
 * forgery, so it alone does not say how much that can be.
 */
static __always_inline int is_on_its_way(__u32 sequence, const struct tpot_splice *splice, const struct tpot_splice *other)
{
	return sequence - other->acknowledged <= MAX_FLIGHT &&
	       (__s32)(splice->sent + splice->sequence_delta - sequence) > 0;
}

/*
 * Ports and sequence number of a quoted segment, as its sender sent them. Returns what changed; nothing where the
 * quoted checksum is one that the kernel has yet to complete (see quoted_tcp_sum).
 */
static __noinline __u64 map_quoted_segment(struct __sk_buff *skb, __u32 at, const struct tpot_flow *sender, __u32 delta,
					   __u16 pseudo)
{
	__be32 old[2], new[2];
	__u16 checksum = ~pseudo;

	if (!sender || bpf_skb_load_bytes(skb, at, old, sizeof(old)))
		return 0;
	new[0] = ports_of(sender);
	new[1] = add_be32(old[1], -delta);
	bpf_skb_store_bytes(skb, at, new, sizeof(new), 0);
	bpf_skb_load_bytes(skb, at + 16, &checksum, sizeof(checksum));
	return checksum == pseudo ? 0 : changed(changed(0, old[0], new[0]), old[1], new[1]);
}

/* The quoted headers at `at`, as the sender of the segment sent it; returns what changed. */
static __noinline __u64 map_quotation4(struct __sk_buff *skb, __u32 at, const struct tpot_flow *sender, __u32 delta)
{
	struct ipv4 ip;
	__be32 source, destination;
	__u64 sum, addresses;

	if (!sender || bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return 0;
	__u32 length = bpf_ntohs(ip.total_length) - IPV4_HLEN;
	__be32 pseudo[4] = { ip.source, ip.destination, bpf_htonl(IPPROTO_TCP_), bpf_htonl(length) };
	__u16 checksum = ip.checksum;

	source = sender->source[3];
	destination = sender->destination[3];
	addresses = changed(changed(0, ip.source, source), ip.destination, destination);
	ip.checksum = ~fold16(addresses + (__u16)~checksum);
	ip.source = source;
	ip.destination = destination;
	bpf_skb_store_bytes(skb, at, &ip, sizeof(ip), 0);
	sum = changed(addresses, checksum, ip.checksum);
	return sum + map_quoted_segment(skb, at + IPV4_HLEN, sender, delta, fold16(sum_of(pseudo, sizeof(pseudo), 0)));
}

/* Both addresses stand side by side, in the header and in a flow. */
static __noinline __u64 map_quotation6(struct __sk_buff *skb, __u32 at, const struct tpot_flow *sender, __u32 delta)
{
	__be32 addresses[8], last[2];
	__be16 length;
	__u64 sum;

	if (!sender || bpf_skb_load_bytes(skb, at + 8, addresses, sizeof(addresses)) ||
	    bpf_skb_load_bytes(skb, at + 4, &length, sizeof(length)))
		return 0;
	last[0] = bpf_htonl(IPPROTO_TCP_);
	last[1] = bpf_htonl(bpf_ntohs(length));
	sum = (__u32)bpf_csum_diff(addresses, 32, (__be32 *)sender->source, 32, 0);
	bpf_skb_store_bytes(skb, at + 8, sender->source, 32, 0);
	return sum + map_quoted_segment(skb, at + IPV6_HLEN, sender, delta,
					fold16(sum_of(addresses, 32, sum_of(last, sizeof(last), 0))));
}

/* The error's own headers, as they come to stand before a quotation of which `sum` has changed. */
static __always_inline int renew_error4(struct __sk_buff *skb, const struct packet *p, struct icmp icmp, __be32 sender,
					__u32 length)
{
	struct {
		struct ipv4 ip;
		struct icmp icmp;
	} error;
	struct tpot_config *config = config_get();

	if (!config)
		return 0;
	fill_error4(&error.ip, config->address4, sender, length);
	error.icmp = icmp;
	return bpf_skb_store_bytes(skb, p->l3, &error, sizeof(error), 0) == 0;
}

static __always_inline int renew_error6(struct __sk_buff *skb, const struct packet *p, struct icmp icmp,
					const __be32 *sender, __u32 length, __u64 sum)
{
	struct {
		struct ipv6 ip;
		struct icmp icmp;
	} error;
	struct tpot_config *config = config_get();
	__u32 old = p->end - p->l4;

	if (!config)
		return 0;
	fill_error6(&error.ip, config->address6, sender, length);
	sum += (__u32)~pseudo_sum(p, p->flow.source, p->flow.destination, IPPROTO_ICMPV6_, old);
	sum += pseudo_sum(p, config->address6, sender, IPPROTO_ICMPV6_, length);
	icmp.checksum = ~fold16(sum);
	error.icmp = icmp;
	return bpf_skb_store_bytes(skb, p->l3, &error, sizeof(error), 0) == 0;
}

/* Makes of an error, whose quotation is mapped already, the one that the sender of the segment gets. */
static __noinline int renew_error(struct __sk_buff *skb, struct packet *p, struct tpot_quoted *q,
				  const struct tpot_flow *sender, const struct translation *by)
{
	struct icmp icmp;
	__be32 rest;
	__u64 sum;

	if (!p || !q || !sender || !by || bpf_skb_load_bytes(skb, p->l4, &icmp, sizeof(icmp)))
		return 0;
	__u32 outer = q->outer_length, length = p->end - p->l4 - outer;

	rest = bpf_htonl(by->mtu);
	sum = changed(by->sum + (__u16)~icmp.checksum, icmp.rest, rest);
	if (outer > 0) /* behind an IPv4 header there are zeros */
		sum += (__u32)bpf_csum_diff(q->outer, sizeof(q->outer), 0, 0, 0);
	if (outer > 0 && q->udp)
		sum += (__u32)bpf_csum_diff(q->udp_header, sizeof(q->udp_header), 0, 0, 0);
	if (outer > 0 && bpf_skb_adjust_room(skb, -(__s32)outer, BPF_ADJ_ROOM_NET, 0))
		return 0;
	icmp.rest = rest;
	icmp.checksum = ~fold16(sum);
	return p->family == 4 ? renew_error4(skb, p, icmp, sender->source[3], length)
			      : renew_error6(skb, p, icmp, sender->source, length, sum);
}

/* What is said about the size of the segments of `splice`; 0 when it is not to be believed or says nothing new. */
static __always_inline __u32 learn_mtu(struct __sk_buff *skb, const struct packet *p, const struct tpot_quoted *q,
				       struct tpot_splice *splice, const struct tpot_splice *other)
{
	struct tpot_tunnel *tunnel;
	struct icmp icmp;
	__be32 sequence;
	__u32 mtu;

	if (q->outer_length > 0) {
		tunnel = bpf_map_lookup_elem(&tpot_tunnels, &splice->out);
		if (!tunnel || !is_quoted_tunnel(tunnel, q))
			return 0;
	}
	if (p->l4 - p->l3 != ip_header_of(p) || bpf_skb_load_bytes(skb, p->l4, &icmp, sizeof(icmp)) ||
	    bpf_skb_load_bytes(skb, p->l4 + ICMP_HLEN + q->outer_length + ip_header_of(p) + 4, &sequence, sizeof(sequence)))
		return 0;
	mtu = inner_mtu(p, &icmp, q->outer_length);
	return is_on_its_way(bpf_ntohl(sequence), splice, other) && lower_max_segment(splice, p, mtu) ? mtu : 0;
}

/* An error that quotes what left here for a spliced connection. SPLICE_GO_ON: it does not. */
__noinline int handle_icmp_of_spliced(struct __sk_buff *skb, struct packet *p, struct tpot_quoted *q, int too_big)
{
	struct tpot_splice *splice, *other;
	struct translation by = {};
	struct tpot_flow sender;
	__u32 at;

	if (!p || !q)
		return SPLICE_GO_ON;
	flow_reverse(&sender, &q->flow);
	other = find_splice(&sender, config_get());
	if (!other || (other->flags & TPOT_SPLICE_HOLD))
		return SPLICE_GO_ON;
	flow_reverse(&sender, &other->out);
	splice = bpf_map_lookup_elem(&tpot_splices, &sender);
	if (!splice || (splice->flags & TPOT_SPLICE_HOLD))
		return SPLICE_GO_ON;
	by.mtu = too_big ? learn_mtu(skb, p, q, splice, other) : 0;
	if (by.mtu == 0)
		return drop_spliced(TPOT_R_DROP_ICMP_SPLICED);
	if (p->family == 6 && by.mtu < MIN_MTU6)
		by.mtu = MIN_MTU6; /* RFC 8201 section 4: nobody goes below, so what is larger is cut up here */
	at = p->l4 + ICMP_HLEN + q->outer_length;
	by.sum = p->family == 4 ? map_quotation4(skb, at, &sender, splice->sequence_delta)
				: map_quotation6(skb, at, &sender, splice->sequence_delta);
	if (!renew_error(skb, p, q, &sender, &by))
		return drop_spliced(TPOT_R_DROP_SPLICE_FAILED);
	return send_error(skb, p, p->l3, skb->len, sender.source);
}

#endif
