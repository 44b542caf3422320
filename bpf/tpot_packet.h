/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Reading a TCP/IP packet: one cursor, one bounds check per header. */
#ifndef TPOT_PACKET_H
#define TPOT_PACKET_H

struct packet {
	struct tpot_flow flow;
	__u32 seq; /* host order */
	__u32 ack;
	__u16 l3; /* offsets from the start of the frame */
	__u16 l4;
	__u32 end;     /* where the packet ends by its IP header's length field */
	__u8 family;   /* 4 or 6 */
	__u8 protocol; /* what follows the IP header */
	__u8 tcp_header_len;
	__u8 flags;
	__u8 sound;    /* no fragment, a legal header length, addresses of its own family */
	__u8 traffic_class; /* or type of service: DSCP and ECN */
	__u8 tunnelled; /* it came in the tunnel of its connection, which has been checked */
	__u8 outer;     /* bytes of outer header in front of `l3`, when it is still in the frame */
	__u32 now;     /* once it is known: clock_now() */
	__u8 ours;     /* addressed to this node's end of tunnels */
};

/* Not packed: a packed struct would be read byte by byte. */
struct ipv4 {
	__u8 version_ihl, tos;
	__be16 total_length, id, fragment;
	__u8 ttl, protocol;
	__be16 checksum;
	__be32 source, destination;
};

struct ipv6 {
	__be32 version_class_label;
	__be16 payload_length;
	__u8 next_header, hop_limit;
	__be32 source[4], destination[4];
};

struct tcp {
	__be16 source, destination;
	__be32 seq, ack;
	__u8 offset_reserved, flags;
	__be16 window, checksum, urgent;
};

/* Milliseconds, or nearly so, of a clock that steps with the kernel's timer: cheap to read. Wraps after 52 days. */
#define CLOCK_SHIFT 20

static __always_inline __u32 clock_now(__u64 coarse_ns)
{
	return coarse_ns >> CLOCK_SHIFT;
}

/* Of CLOCK_MONOTONIC, in units of 67 ms; begins anew every 17 s. */
static __always_inline __u8 coarse_instant(void)
{
	return bpf_ktime_get_coarse_ns() >> 26;
}

struct udp {
	__be16 source, destination, length, checksum;
} __attribute__((packed));

/* What a tunnel's outer header takes. */
static __always_inline __u32 outer_room(__u32 family, int udp)
{
	return (family == 4 ? IPV4_HLEN : IPV6_HLEN) + (udp ? UDP_HLEN : 0);
}

static __always_inline void map_ipv4(__be32 *mapped, __be32 address)
{
	mapped[0] = 0;
	mapped[1] = 0;
	mapped[2] = bpf_htonl(0xffff);
	mapped[3] = address;
}

static __always_inline void copy_address(__be32 *to, const __be32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

static __always_inline int same_address(const __be32 *a, const __be32 *b)
{
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0;
}

static __always_inline int is_mapped_ipv4(const __be32 *address)
{
	return address[0] == 0 && address[1] == 0 && address[2] == bpf_htonl(0xffff);
}

static __always_inline void flow_reverse(struct tpot_flow *to, const struct tpot_flow *from)
{
	copy_address(to->source, from->destination);
	copy_address(to->destination, from->source);
	to->source_port = from->destination_port;
	to->destination_port = from->source_port;
}

static __always_inline void *frame_start(const struct __sk_buff *skb)
{
	return (void *)(long)skb->data;
}

static __always_inline void *frame_end(const struct __sk_buff *skb)
{
	return (void *)(long)skb->data_end;
}

/* Makes `length` bytes readable by direct access; 0 when the frame is shorter. */
static __always_inline int ensure_linear(struct __sk_buff *skb, __u64 length)
{
	if (frame_start(skb) + length <= frame_end(skb))
		return 1;
	return skb->len >= length && bpf_skb_pull_data(skb, length) == 0;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, __u32 l3, struct packet *p)
{
	if (!ensure_linear(skb, l3 + IPV4_HLEN))
		return 0;
	void *data = frame_start(skb), *end = frame_end(skb);
	struct ipv4 *ip = data + l3;

	if ((void *)(ip + 1) > end || ip->version_ihl >> 4 != 4)
		return 0;
	p->sound = ip->version_ihl >= 0x45 && !(ip->fragment & bpf_htons(IPV4_FRAGMENT_MASK));
	p->family = 4;
	p->l3 = l3;
	p->l4 = l3 + ((ip->version_ihl & 0xf) << 2);
	p->end = l3 + bpf_ntohs(ip->total_length);
	p->protocol = ip->protocol;
	p->traffic_class = ip->tos;
	map_ipv4(p->flow.source, ip->source);
	map_ipv4(p->flow.destination, ip->destination);
	return 1;
}

/*
 * Extension headers before TCP are not followed: such packets pass untouched. So do those with IPv4-mapped addresses,
 * which do not belong on the wire (RFC 4942 section 2.2) and which every table would take for IPv4 ones.
 */
static __always_inline int parse_ipv6(struct __sk_buff *skb, __u32 l3, struct packet *p)
{
	if (!ensure_linear(skb, l3 + IPV6_HLEN))
		return 0;
	void *data = frame_start(skb), *end = frame_end(skb);
	struct ipv6 *ip = data + l3;

	if ((void *)(ip + 1) > end || (ip->version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return 0;
	p->sound = !is_mapped_ipv4(ip->source) && !is_mapped_ipv4(ip->destination);
	p->family = 6;
	p->l3 = l3;
	p->l4 = l3 + IPV6_HLEN;
	p->end = p->l4 + bpf_ntohs(ip->payload_length);
	p->protocol = ip->next_header;
	p->traffic_class = bpf_ntohl(ip->version_class_label) >> 20;
	copy_address(p->flow.source, ip->source);
	copy_address(p->flow.destination, ip->destination);
	return 1;
}

static __always_inline int parse_ip(struct __sk_buff *skb, __u32 l3, struct packet *p)
{
	if (skb->protocol == bpf_htons(ETH_P_IPV4))
		return parse_ipv4(skb, l3, p);
	if (skb->protocol == bpf_htons(ETH_P_IPV6_))
		return parse_ipv6(skb, l3, p);
	return 0;
}

static __always_inline int parse_tcp(struct __sk_buff *skb, struct packet *p)
{
	__u64 l4 = p->l4 & 0xff;

	if (!ensure_linear(skb, l4 + TCP_HLEN))
		return 0;
	void *data = frame_start(skb), *end = frame_end(skb);
	struct tcp *tcp = data + l4;

	if ((void *)(tcp + 1) > end)
		return 0;
	p->flow.source_port = tcp->source;
	p->flow.destination_port = tcp->destination;
	p->seq = bpf_ntohl(tcp->seq);
	p->ack = bpf_ntohl(tcp->ack);
	p->tcp_header_len = (tcp->offset_reserved >> 4) << 2;
	p->flags = tcp->flags;
	return p->tcp_header_len >= TCP_HLEN;
}

#endif
