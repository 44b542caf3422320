/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Spliced segments larger than the other leg takes; splice/fit.ts is the reference.
 *
 *   to be cut up later (GSO) ─▶ into smaller segments then
 *   the first few, and one in many after them ─▶ dropped, and the sender told by ICMP what fits (RFC 1191, RFC 8201)
 *   every other, and where fragments are allowed ─▶ cut up here
 *
 * So a sender that hears no ICMP loses a few segments, but not its connection. Cutting up: a clone of the segment
 * comes in once more, marked with how much of it has left, while this one is shortened to what fits.
 */
#ifndef TPOT_FIT_H
#define TPOT_FIT_H

/* Of the segments that are too large these are answered with ICMP: the first ones, then one in TELL_EACH. */
#define TELL_FIRST 3
#define TELL_EACH 1024
/* bpf_skb_adjust_room takes so much at a time. */
#define MAX_ROOM 4095
#define MAX_ROOMS 16
/* What is quoted of a segment: its ports and sequence number are what its sender looks at. */
#define QUOTED_TCP 20
#define MIN_MTU6 1280
#define ICMP_TOS 0xc0 /* RFC 1812 section 4.3.2.5 */

struct icmp {
	__u8 type, code;
	__be16 checksum;
	__be32 rest; /* the MTU: all of it in ICMPv6, the lower half in ICMP */
} __attribute__((packed));

#define ICMP4_UNREACHABLE 3
#define ICMP4_TOO_BIG_CODE 4
#define ICMP6_TOO_BIG 2

static __always_inline __u32 sum_of(const void *words, __u32 length, __u32 sum)
{
	return bpf_csum_diff(0, 0, (__be32 *)words, length, sum);
}

/*
 * Room that is made lowers the payload of each segment by as much, and room that is taken away can leave it: nothing
 * moves in the end, and the segments have become smaller.
 */
static __noinline int lower_gso_size(struct __sk_buff *skb, __u32 by)
{
	for (int i = 0; i < MAX_ROOMS && by > 0; i++) {
		__s32 step = by > MAX_ROOM ? MAX_ROOM : by;

		if (bpf_skb_adjust_room(skb, step, BPF_ADJ_ROOM_MAC, 0) ||
		    bpf_skb_adjust_room(skb, -step, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
			return 0;
		by -= step;
	}
	return by == 0;
}

/* Moves `length` bytes towards the front. */
__noinline int move_forward(struct __sk_buff *skb, __u32 from, __u32 to, __u32 length)
{
	__u8 chunk[CHUNK];

	for (__u32 i = 0; i < MAX_CHUNKS && length >= CHUNK; i++) {
		if (bpf_skb_load_bytes(skb, from, chunk, CHUNK) || bpf_skb_store_bytes(skb, to, chunk, CHUNK, 0))
			return 0;
		from += CHUNK;
		to += CHUNK;
		length -= CHUNK;
	}
	if (length == 0)
		return 1;
	asm volatile("" : "+r"(length));
	__u32 rest = ((length - 1) & (CHUNK - 1)) + 1;

	return bpf_skb_load_bytes(skb, from, chunk, rest) == 0 && bpf_skb_store_bytes(skb, to, chunk, rest, 0) == 0;
}

/* Control bits and urgent pointer of a piece that begins after `skip` bytes: a FIN goes with the last one. */
static __always_inline __u32 piece_flags(__u32 flags, __u32 skip, int last)
{
	if (!last)
		flags &= ~(TCP_FIN | TCP_PSH);
	return skip == 0 ? flags : flags & ~TCP_CWR;
}

/* A piece that is not the first one gets another identification, should it be fragmented on its way (RFC 6864). */
static __always_inline void renew_identification(struct __sk_buff *skb, const struct packet *p, __u32 skip)
{
	__be16 old, new;

	if (bpf_skb_load_bytes(skb, p->l3 + 4, &old, sizeof(old)))
		return;
	new = bpf_htons(bpf_ntohs(old) + 0x8000 + skip);
	bpf_l3_csum_replace(skb, p->l3 + 10, old, new, 2);
	bpf_skb_store_bytes(skb, p->l3 + 4, &new, sizeof(new), 0);
}

static __always_inline __u64 change_word(__be32 *word, __be32 to, __u64 sum)
{
	sum = changed(sum, *word, to);
	*word = to;
	return sum;
}

/* Sequence number, control bits and urgent pointer of a piece; what changes is added to `sum`, the payload's change. */
static __noinline int rewrite_piece(struct __sk_buff *skb, struct packet *p, __u32 skip, int last, __u64 sum)
{
	__be32 words[TCP_HLEN / 4];
	__u32 urgent, control;

	if (!p || bpf_skb_load_bytes(skb, p->l4, words, TCP_HLEN))
		return 0;
	p->flags = piece_flags(p->flags, skip, last);
	urgent = bpf_ntohl(words[4]) & 0xffff;
	if (skip > 0 && (p->flags & TCP_URG)) {
		if (urgent <= skip)
			p->flags &= ~TCP_URG;
		urgent = urgent <= skip ? 0 : urgent - skip;
	}
	p->seq += skip;
	control = (bpf_ntohl(words[3]) & ~0x00ff0000) | (__u32)p->flags << 16;
	sum = change_word(&words[1], bpf_htonl(p->seq), sum);
	sum = change_word(&words[3], bpf_htonl(control), sum);
	sum = change_word(&words[4], bpf_htonl((bpf_ntohl(words[4]) & 0xffff0000) | urgent), sum);
	return bpf_skb_store_bytes(skb, p->l4, words, TCP_HLEN, 0) == 0 &&
	       bpf_l4_csum_replace(skb, p->l4 + 16, 0, fold32(sum), 0) == 0;
}

/* Shortens the segment to `take` bytes of its payload, from `skip` on. */
static __always_inline int keep_piece(struct __sk_buff *skb, struct packet *p, __u32 skip, __u32 take)
{
	__u32 payload = payload_of(p), at = p->l4 + p->tcp_header_len;
	__u64 sum = (__u32)~payload_sum(skb, at, payload);

	if (skip > 0) {
		if (!move_forward(skb, at + skip, at, take))
			return 0;
		if (p->family == 4)
			renew_identification(skb, p, skip);
	}
	sum += payload_sum(skb, at, take);
	if (!rewrite_piece(skb, p, skip, skip + take == payload, sum))
		return 0;
	resize_payload(skb, p, payload, take);
	p->end = at + take;
	return end_packet(skb, p->end);
}

/* Leaves of the segment what comes next, and sends the whole once more through here for what is left then. */
static __always_inline int cut_up(struct __sk_buff *skb, struct packet *p, __u32 room)
{
	__u32 mark = skb->mark, payload = payload_of(p);
	__u32 skip = is_piece(skb) ? mark & ~PIECE_MASK : 0;

	if (skip >= payload)
		return drop_spliced(TPOT_R_DROP_SPLICE_FAILED);
	if (payload - skip > room) {
		skb->mark = PIECE_MARK | ((skip + room) & ~PIECE_MASK);
		if (bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS))
			return drop_spliced(TPOT_R_DROP_SPLICE_FAILED);
	}
	skb->mark = (mark & PIECE_MASK) == PIECE_MARK ? 0 : mark;
	if (!keep_piece(skb, p, skip, payload - skip > room ? room : payload - skip))
		return drop_spliced(TPOT_R_DROP_SPLICE_FAILED);
	return TC_ACT_OK;
}

/* The sum of a pseudo header, with IPv4-mapped addresses as the tables hold them: their first words are not part. */
static __always_inline __u32 pseudo_sum(const struct packet *p, const __be32 *source, const __be32 *destination,
					__u32 protocol, __u32 length)
{
	__be32 last[2] = { bpf_htonl(protocol), bpf_htonl(length) };
	__u32 sum = sum_of(last, sizeof(last), 0);

	if (p->family == 4)
		return sum_of(&destination[3], 4, sum_of(&source[3], 4, sum));
	return sum_of(destination, 16, sum_of(source, 16, sum));
}

/*
 * The sum over a quoted TCP header as it will leave. Where its checksum was still to be completed it holds the sum of
 * the pseudo header, and nobody tells the kernel that it is a quotation now: what it stores in its place makes all of
 * the header add up to the complement of that.
 */
static __noinline __u32 quoted_tcp_sum(struct __sk_buff *skb, const struct packet *p)
{
	struct tcp tcp;
	__u16 pseudo;

	if (!p || bpf_skb_load_bytes(skb, p->l4, &tcp, sizeof(tcp)))
		return 0;
	pseudo = fold16(pseudo_sum(p, p->flow.source, p->flow.destination, IPPROTO_TCP_, p->end - p->l4));
	return tcp.checksum == pseudo ? (__u16)~pseudo : sum_of(&tcp, QUOTED_TCP, 0);
}

/* The address that an error of this node's comes from. */
static __always_inline void own_address(__be32 *address, __u32 family, const struct tpot_config *config)
{
	if (family == 4)
		map_ipv4(address, config->address4);
	else
		copy_address(address, config->address6);
}

/* The IP header of an error, with `length` bytes behind it. */
static __always_inline void fill_error4(struct ipv4 *ip, __be32 source, __be32 destination, __u32 length)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version_ihl = 0x45;
	ip->tos = ICMP_TOS;
	ip->total_length = bpf_htons(IPV4_HLEN + length);
	ip->fragment = bpf_htons(IPV4_DF);
	ip->ttl = OUTER_TTL;
	ip->protocol = IPPROTO_ICMP_;
	ip->source = source;
	ip->destination = destination;
	ip->checksum = ~fold16(sum_of(ip, sizeof(*ip), 0));
}

static __always_inline void fill_error6(struct ipv6 *ip, const __be32 *source, const __be32 *destination, __u32 length)
{
	ip->version_class_label = bpf_htonl(0x60000000);
	ip->payload_length = bpf_htons(length);
	ip->next_header = IPPROTO_ICMPV6_;
	ip->hop_limit = OUTER_TTL;
	copy_address(ip->source, source);
	copy_address(ip->destination, destination);
}

/* Where the frame's first IP header begins: the segment may still be in its tunnel. */
static __always_inline __u32 first_header(const struct packet *p)
{
	return p->l3 - p->outer;
}

/* Cuts a frame down to an IP and a TCP header, with room for an error's headers in front, in place of an outer one. */
static __always_inline int make_quotation(struct __sk_buff *skb, const struct packet *p)
{
	__u32 room = ip_header_of(p) + ICMP_HLEN - p->outer;

	return end_packet(skb, p->l4 + QUOTED_TCP) &&
	       (room == 0 || bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, 0) == 0);
}

/* The headers of an error from `source` in front of what it quotes, `sum` being that of the quoted TCP header. */
static __noinline int make_error4(struct __sk_buff *skb, struct packet *p, const struct tpot_address *source, __u32 mtu,
				  __u64 sum)
{
	struct {
		struct ipv4 ip;
		struct icmp icmp;
	} error;

	if (!p || !source || bpf_skb_load_bytes(skb, p->l3, &error.ip, sizeof(error.ip)))
		return 0;
	sum += sum_of(&error.ip, sizeof(error.ip), 0);
	error.icmp.type = ICMP4_UNREACHABLE;
	error.icmp.code = ICMP4_TOO_BIG_CODE;
	error.icmp.checksum = 0;
	error.icmp.rest = bpf_htonl(mtu);
	error.icmp.checksum = ~fold16(sum + sum_of(&error.icmp, ICMP_HLEN, 0));
	fill_error4(&error.ip, source->address[3], p->flow.source[3], ICMP_HLEN + IPV4_HLEN + QUOTED_TCP);
	return make_quotation(skb, p) && bpf_skb_store_bytes(skb, first_header(p), &error, sizeof(error), 0) == 0;
}

static __noinline int make_error6(struct __sk_buff *skb, struct packet *p, const struct tpot_address *source, __u32 mtu,
				  __u64 sum)
{
	struct {
		struct ipv6 ip;
		struct icmp icmp;
	} error;
	__u32 length = ICMP_HLEN + IPV6_HLEN + QUOTED_TCP;

	if (!p || !source || bpf_skb_load_bytes(skb, p->l3, &error.ip, sizeof(error.ip)))
		return 0;
	sum += sum_of(&error.ip, sizeof(error.ip), 0);
	sum += pseudo_sum(p, source->address, p->flow.source, IPPROTO_ICMPV6_, length);
	error.icmp.type = ICMP6_TOO_BIG;
	error.icmp.code = 0;
	error.icmp.checksum = 0;
	error.icmp.rest = bpf_htonl(mtu);
	error.icmp.checksum = ~fold16(sum + sum_of(&error.icmp, ICMP_HLEN, 0));
	fill_error6(&error.ip, source->address, p->flow.source, length);
	return make_quotation(skb, p) && bpf_skb_store_bytes(skb, first_header(p), &error, sizeof(error), 0) == 0;
}

/* IP options are not worth a case. */
static __always_inline int is_quotable(const struct packet *p)
{
	return p->l4 - p->l3 == ip_header_of(p) && p->end >= (__u32)p->l4 + QUOTED_TCP;
}

static __always_inline int make_error(struct __sk_buff *skb, struct packet *p, const struct tpot_address *source, __u32 mtu)
{
	__u32 sum = quoted_tcp_sum(skb, p);

	return p->family == 4 ? make_error4(skb, p, source, mtu, sum) : make_error6(skb, p, source, mtu, sum);
}

/* Sends an error that stands from `l3` to `end` to `destination`. */
static __always_inline int send_error(struct __sk_buff *skb, struct packet *p, __u32 l3, __u32 end,
				      const __be32 *destination)
{
	struct tpot_config *config = config_get();
	__be32 source[4];

	if (!config)
		return TC_ACT_SHOT;
	own_address(source, p->family, config);
	p->l3 = l3;
	p->end = end;
	p->now = clock_now(bpf_ktime_get_coarse_ns());
	return route_spliced(skb, p, 0, source, destination, p->family == 4 ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_);
}

/* Makes of a segment the error that its sender gets: `mtu` is what its packets may have. SPLICE_GO_ON: not possible. */
static __always_inline int tell_sender(struct __sk_buff *skb, struct packet *p, __u32 mtu)
{
	struct tpot_config *config = config_get();
	struct tpot_address source;
	__u32 l3 = first_header(p);

	if (!config || !is_quotable(p))
		return SPLICE_GO_ON;
	count(TPOT_R_DROP_SPLICE_TOO_BIG);
	own_address(source.address, p->family, config);
	if (!make_error(skb, p, &source, mtu))
		return TC_ACT_SHOT;
	return send_error(skb, p, l3, l3 + 2 * ip_header_of(p) + ICMP_HLEN + QUOTED_TCP, p->flow.source);
}

/* Whether a segment that is too large is one to answer with ICMP; not where its sender lets it be fragmented. */
static __always_inline int is_to_be_told(struct __sk_buff *skb, const struct packet *p, struct tpot_splice *splice)
{
	__be16 fragment = 0;
	__u32 before;

	if (p->family == 4 && (bpf_skb_load_bytes(skb, p->l3 + 6, &fragment, sizeof(fragment)) ||
			       !(fragment & bpf_htons(IPV4_DF))))
		return 0;
	/* Nobody goes below the smallest MTU of IPv6. */
	if (p->family == 6 && p->end - p->l3 <= MIN_MTU6)
		return 0;
	before = splice->too_big++;
	return before < TELL_FIRST || before % TELL_EACH == 0;
}

__noinline int fit_segment(struct __sk_buff *skb, struct packet *p, struct tpot_splice *splice)
{
	int verdict;

	if (!p || !splice || splice->max_segment <= p->tcp_header_len)
		return drop_spliced(TPOT_R_DROP_SPLICE_FAILED);
	__u32 room = splice->max_segment - p->tcp_header_len;

	if (skb->gso_size) {
		if (!lower_gso_size(skb, skb->gso_size - room))
			return drop_spliced(TPOT_R_DROP_SPLICE_FAILED);
		return TC_ACT_OK;
	}
	if (!is_piece(skb) && is_to_be_told(skb, p, splice)) {
		__u32 mtu = ip_header_of(p) + splice->max_segment;

		verdict = tell_sender(skb, p, p->family == 6 && mtu < MIN_MTU6 ? MIN_MTU6 : mtu);
		if (verdict != SPLICE_GO_ON)
			return verdict;
	}
	return cut_up(skb, p, room);
}

#endif
