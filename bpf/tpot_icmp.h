/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * ICMP errors about tunnel packets (protocol rule 4). They quote our outer header and, behind it, the inner segment:
 *
 *   IP | ICMP, MTU m | outer IP [S→P1] (| UDP) | inner IP S→D | TCP …    as it arrives
 *   IP | ICMP, MTU m − outer           | inner IP S→D | TCP …        as TCP understands it
 *
 * Errors about what a node sends to the source quote D's address and are sent to D: those that pass the node are
 * brought to the socket they are about.
 *
 * "Too big" is translated so (RFC 2003 section 5.1), and path-MTU discovery works through the tunnel. "Unreachable"
 * before the node has been heard of means that this tunnel does not pass here: the connection goes on in UDP or plain,
 * and nothing is lost.
 */
#ifndef TPOT_ICMP_H
#define TPOT_ICMP_H

#define ICMP6_UNREACHABLE 1
#define ICMP6_PARAMETER 4

/* The headers that an error quotes; `outer` is what the translation takes away. */
struct tpot_quoted {
	struct tpot_flow flow;
	__be32 remote[4];
	__be32 outer[IPV6_HLEN / 4];
	__u32 outer_length;
	__u32 tcp; /* where the quoted TCP header is */
	__be32 udp_header[UDP_HLEN / 4];
	__u8 udp;
	__u8 back; /* its outer source is not the inner one */
};

/* In a map, for the same reasons as tpot_scratch. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tpot_quoted);
} tpot_quoted SEC(".maps");

static __always_inline int is_quoted_tunnel(const struct tpot_tunnel *tunnel, const struct tpot_quoted *q)
{
	return same_address(tunnel->remote, q->remote) && tunnel->udp == q->udp && tunnel->back == q->back;
}

static __always_inline struct tpot_quoted *empty_quotation(void)
{
	__u32 zero = 0;
	struct tpot_quoted *q = bpf_map_lookup_elem(&tpot_quoted, &zero);

	if (q)
		__builtin_memset(q, 0, sizeof(*q));
	return q;
}

/* tpot_path_mtu.h; not static for the verifier's sake. */
__noinline int handle_icmp_of_spliced(struct __sk_buff *skb, struct packet *p, struct tpot_quoted *q, int too_big);

static __always_inline int read_ports(struct __sk_buff *skb, __u32 at, struct tpot_quoted *q)
{
	__be16 ports[2];

	if (bpf_skb_load_bytes(skb, at, ports, sizeof(ports)))
		return 0;
	q->flow.source_port = ports[0];
	q->flow.destination_port = ports[1];
	q->tcp = at;
	return 1;
}

/* Reads the UDP header behind an outer one; the offset behind it. */
static __always_inline __u32 read_quoted_udp(struct __sk_buff *skb, __u32 at, __u8 protocol, struct tpot_quoted *q)
{
	q->udp = protocol == IPPROTO_UDP_ && bpf_skb_load_bytes(skb, at, q->udp_header, UDP_HLEN) == 0;
	return q->udp ? at + UDP_HLEN : at;
}

static __noinline int read_quoted4(struct __sk_buff *skb, __u32 at, struct tpot_quoted *q)
{
	struct ipv4 inner, *outer;

	if (!q)
		return 0;
	outer = (struct ipv4 *)q->outer;
	if (bpf_skb_load_bytes(skb, at, outer, IPV4_HLEN))
		return 0;
	at = read_quoted_udp(skb, at + IPV4_HLEN, outer->protocol, q);
	if (bpf_skb_load_bytes(skb, at, &inner, sizeof(inner)))
		return 0;
	if (outer->version_ihl != 0x45 || (outer->protocol != IPPROTO_IPIP_ && !q->udp) || inner.version_ihl != 0x45 ||
	    inner.protocol != IPPROTO_TCP_)
		return 0;
	q->back = inner.source != outer->source;
	map_ipv4(q->flow.source, inner.source);
	map_ipv4(q->flow.destination, inner.destination);
	map_ipv4(q->remote, outer->destination);
	q->outer_length = outer_room(4, q->udp);
	return read_ports(skb, at + IPV4_HLEN, q);
}

static __noinline int read_quoted6(struct __sk_buff *skb, __u32 at, struct tpot_quoted *q)
{
	struct ipv6 inner, *outer;

	if (!q)
		return 0;
	outer = (struct ipv6 *)q->outer;
	if (bpf_skb_load_bytes(skb, at, outer, IPV6_HLEN))
		return 0;
	at = read_quoted_udp(skb, at + IPV6_HLEN, outer->next_header, q);
	if (bpf_skb_load_bytes(skb, at, &inner, sizeof(inner)))
		return 0;
	if ((outer->next_header != IPPROTO_IPV6_ && !q->udp) || inner.next_header != IPPROTO_TCP_ ||
	    is_mapped_ipv4(inner.source) || is_mapped_ipv4(inner.destination))
		return 0;
	q->back = !same_address(inner.source, outer->source);
	copy_address(q->flow.source, inner.source);
	copy_address(q->flow.destination, inner.destination);
	copy_address(q->remote, outer->destination);
	q->outer_length = outer_room(6, q->udp);
	return read_ports(skb, at + IPV6_HLEN, q);
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* RFC 1624 over what goes (the outer header), the MTU, and for ICMPv6 the length in the pseudo header. */
static __always_inline __u16 translated_checksum(const struct icmp *old, const struct icmp *new, struct tpot_quoted *q,
						 __u32 family, __be32 old_length, __be32 new_length)
{
	__be32 was = old->rest, is = new->rest;
	__u32 sum = (__u16)~old->checksum;

	if (q->udp)
		sum = bpf_csum_diff(q->udp_header, UDP_HLEN, 0, 0, sum);
	if (family == 4)
		return fold(bpf_csum_diff(&was, 4, &is, 4, bpf_csum_diff(q->outer, IPV4_HLEN, 0, 0, sum)));
	sum = bpf_csum_diff(q->outer, IPV6_HLEN, 0, 0, sum);
	sum = bpf_csum_diff(&old_length, 4, &new_length, 4, sum);
	return fold(bpf_csum_diff(&was, 4, &is, 4, sum));
}

/* Shortens the IP header's length field by what the translation took away. */
static __always_inline __u32 shorten_ip(struct __sk_buff *skb, const struct packet *p, __u32 by)
{
	__u32 at = p->l3 + (p->family == 4 ? 2 : 4);
	__be16 old, new;

	if (bpf_skb_load_bytes(skb, at, &old, sizeof(old)))
		return 0;
	new = bpf_htons(bpf_ntohs(old) - by);
	if (p->family == 4)
		bpf_l3_csum_replace(skb, p->l3 + 10, old, new, 2);
	bpf_skb_store_bytes(skb, at, &new, sizeof(new), BPF_F_RECOMPUTE_CSUM);
	return bpf_ntohs(old);
}

/* Takes the quoted outer header out: its last 8 bytes become the place of the new ICMP header. */
static __noinline int translate_too_big(struct __sk_buff *skb, const struct packet *p, struct tpot_quoted *q)
{
	struct icmp old, new;

	if (!p || !q || bpf_skb_load_bytes(skb, p->l4, &old, sizeof(old)))
		return TC_ACT_UNSPEC;
	__u32 overhead = q->outer_length, base = outer_room(p->family, 0);
	__u32 mtu = p->family == 4 ? bpf_ntohl(old.rest) & 0xffff : bpf_ntohl(old.rest);

	/* An MTU of 0 (RFC 1191 section 4) leaves the guess to TCP; IP options in front of the error are not worth a case. */
	if (p->l4 - p->l3 != base || (mtu != 0 && mtu <= overhead + base))
		return TC_ACT_UNSPEC;
	new = old;
	new.rest = mtu == 0 ? old.rest : bpf_htonl(bpf_ntohl(old.rest) - overhead);
	if (bpf_skb_adjust_room(skb, -(__s32)overhead, BPF_ADJ_ROOM_NET, 0))
		return TC_ACT_UNSPEC;
	__u32 length = shorten_ip(skb, p, overhead);

	new.checksum = translated_checksum(&old, &new, q, p->family, bpf_htonl(length), bpf_htonl(length - overhead));
	bpf_skb_store_bytes(skb, p->l4, &new, sizeof(new), BPF_F_RECOMPUTE_CSUM);
	count(TPOT_R_ICMP_TRANSLATED);
	return TC_ACT_UNSPEC; /* on to TCP, as an error about its own segment */
}

/* The node cannot be reached by this tunnel. The functions it calls want a segment that comes from the node. */
static __noinline int handle_unreachable(struct __sk_buff *skb, const struct packet *p, const struct tpot_quoted *q,
					 struct tpot_tunnel *tunnel)
{
	struct packet incoming = {};
	__be32 sequence;

	if (!p || !q || !tunnel || tunnel->plain || tunnel->back || bpf_skb_load_bytes(skb, q->tcp + 4, &sequence, sizeof(sequence)))
		return TC_ACT_UNSPEC;
	incoming.ack = bpf_ntohl(sequence); /* of what is on the way, or somebody guesses (RFC 5927 section 4.1) */
	incoming.family = p->family;
	flow_reverse(&incoming.flow, &q->flow);
	if (unheard(skb, &incoming))
		next_way(skb, &incoming, tunnel, TPOT_UNHEARD_SYN_ACKS);
	return TC_ACT_UNSPEC;
}

static __always_inline int is_too_big(const struct packet *p, const struct icmp *icmp)
{
	return p->family == 4 ? icmp->type == ICMP4_UNREACHABLE && icmp->code == ICMP4_TOO_BIG_CODE
			      : icmp->type == ICMP6_TOO_BIG;
}

static __always_inline int is_unreachable(const struct packet *p, const struct icmp *icmp)
{
	if (p->family == 4)
		return icmp->type == ICMP4_UNREACHABLE;
	return icmp->type == ICMP6_UNREACHABLE || icmp->type == ICMP6_PARAMETER;
}

/* The quoted segment of an error that is not about a tunnel packet. */
static __noinline int read_quoted_segment(struct __sk_buff *skb, const struct packet *p, struct tpot_quoted *q)
{
	if (!p || !q)
		return 0;
	__u32 at = p->l4 + ICMP_HLEN;

	q->outer_length = 0;
	if (p->family == 4) {
		struct ipv4 ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.version_ihl != 0x45 || ip.protocol != IPPROTO_TCP_)
			return 0;
		map_ipv4(q->flow.source, ip.source);
		map_ipv4(q->flow.destination, ip.destination);
		return read_ports(skb, at + IPV4_HLEN, q);
	}
	struct ipv6 ip;

	/* Every table would take IPv4-mapped addresses for IPv4 ones. */
	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.next_header != IPPROTO_TCP_ || is_mapped_ipv4(ip.source) ||
	    is_mapped_ipv4(ip.destination))
		return 0;
	copy_address(q->flow.source, ip.source);
	copy_address(q->flow.destination, ip.destination);
	return read_ports(skb, at + IPV6_HLEN, q);
}

/* An error about a segment that we sent in D's name: TCP here is what has to know. */
static __noinline int handle_icmp_of_taken(struct __sk_buff *skb, const struct tpot_quoted *q)
{
	struct tpot_config *config = config_get();
	struct tpot_flow taken;

	if (!config || !q || !(config->flags & TPOT_FLAG_NODE))
		return TC_ACT_UNSPEC;
	flow_reverse(&taken, &q->flow);
	if (!bpf_map_lookup_elem(&tpot_taken, &taken))
		return TC_ACT_UNSPEC;
	count(TPOT_R_ICMP_DELIVERED);
	return deliver(skb, config);
}

/* Only errors that quote a segment or a tunnel of ours, addresses and ports included, are touched. */
static __noinline int handle_icmp(struct __sk_buff *skb, struct packet *p)
{
	struct tpot_quoted *q;
	struct icmp icmp;
	int verdict;

	if (!p || bpf_skb_load_bytes(skb, p->l4, &icmp, sizeof(icmp)))
		return TC_ACT_UNSPEC;
	if (!is_too_big(p, &icmp) && !is_unreachable(p, &icmp))
		return TC_ACT_UNSPEC;
	q = empty_quotation();
	if (!q)
		return TC_ACT_UNSPEC;
	if (!(p->family == 4 ? read_quoted4(skb, p->l4 + ICMP_HLEN, q) : read_quoted6(skb, p->l4 + ICMP_HLEN, q)) &&
	    !read_quoted_segment(skb, p, q))
		return TC_ACT_UNSPEC;
	verdict = handle_icmp_of_spliced(skb, p, q, is_too_big(p, &icmp));
	if (verdict != SPLICE_GO_ON)
		return verdict;
	if (q->outer_length == 0)
		return handle_icmp_of_taken(skb, q);
	struct tpot_tunnel *tunnel = bpf_map_lookup_elem(&tpot_tunnels, &q->flow);

	/* What a connection sent before it went on in UDP says nothing about UDP. */
	if (!tunnel || !is_quoted_tunnel(tunnel, q))
		return TC_ACT_UNSPEC;
	return is_too_big(p, &icmp) ? translate_too_big(skb, p, q) : handle_unreachable(skb, p, q, tunnel);
}

#endif
