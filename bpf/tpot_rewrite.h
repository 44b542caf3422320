/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The headers of a spliced segment, rewritten field by field: TCP, its options, IP. splice/mapping.ts is the reference.
 * Checksums are never computed anew: what changed is added, so a wrong one stays wrong, and one that is still to be
 * completed (CHECKSUM_PARTIAL, every GSO packet) gets the pseudo header's changes only.
 */
#ifndef TPOT_REWRITE_H
#define TPOT_REWRITE_H

/* The usual option area of a segment: NOP, NOP, timestamps. */
#define USUAL_OPTIONS bpf_htonl(0x0101080a)
#define USUAL_HLEN 32

#define CHUNK 64
#define MAX_CHUNKS 1024

/* A TCP header in 32-bit words, for sums. The last three are what the usual options are. */
struct segment {
	__be32 ports, sequence, acknowledgment;
	__be32 control; /* data offset, flags, window */
	__be16 checksum, urgent;
	__be32 options[3];
};

/* A ones' complement sum of 32-bit words, in which one word changes (RFC 1624). */
static __always_inline __u64 changed(__u64 sum, __u32 from, __u32 to)
{
	return sum + (__u32)~from + to;
}

static __always_inline __u32 fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline __u16 fold16(__u64 sum)
{
	__u32 folded = fold32(sum);

	folded = (folded & 0xffff) + (folded >> 16);
	return (folded & 0xffff) + (folded >> 16);
}

static __always_inline __be32 add_be32(__be32 number, __u32 delta)
{
	return bpf_htonl(bpf_ntohl(number) + delta);
}

/* A frame may be padded, so the payload ends where the IP header says. */
static __always_inline __u32 payload_of(const struct packet *p)
{
	return p->end - p->l4 - p->tcp_header_len;
}

/* The sum of a payload, 64 bytes at a time; for the rare segment that is cut. */
__noinline __u32 payload_sum(struct __sk_buff *skb, __u32 at, __u32 length)
{
	__be32 chunk[CHUNK / 4];
	__u32 sum = 0;

	for (__u32 i = 0; i < MAX_CHUNKS && length >= CHUNK; i++) {
		if (bpf_skb_load_bytes(skb, at, chunk, CHUNK))
			return 0;
		sum = bpf_csum_diff(0, 0, chunk, CHUNK, sum);
		at += CHUNK;
		length -= CHUNK;
	}
	if (length == 0)
		return sum;
	__builtin_memset(chunk, 0, sizeof(chunk));
	asm volatile("" : "+r"(length));
	if (bpf_skb_load_bytes(skb, at, chunk, ((length - 1) & (CHUNK - 1)) + 1) == 0)
		sum = bpf_csum_diff(0, 0, chunk, CHUNK, sum);
	return sum;
}

/* The IP header's length without the payload; IPv4's checksum follows. */
static __always_inline void drop_payload_length(struct __sk_buff *skb, const struct packet *p, __u32 payload)
{
	__u32 at = p->l3 + (p->family == 4 ? 2 : 4);
	__be16 old = 0, new;

	bpf_skb_load_bytes(skb, at, &old, sizeof(old));
	new = bpf_htons(p->l4 - p->l3 + p->tcp_header_len - (p->family == 4 ? 0 : IPV6_HLEN));
	if (p->family == 4)
		bpf_l3_csum_replace(skb, p->l3 + 10, old, new, 2);
	bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
	/* the pseudo header's length, which a checksum that is still to be completed has too */
	bpf_l4_csum_replace(skb, p->l4 + 16, bpf_htons(p->tcp_header_len + payload), bpf_htons(p->tcp_header_len),
			    BPF_F_PSEUDO_HDR | 2);
}

/*
 * Takes the payload from a segment that begins below the base. Its sequence number stays, so the receiver, which has
 * all bytes below the base, answers with an ACK of the base (RFC 9293 section 3.10.7.4): that ends a retransmission,
 * and it is what a keep-alive with a byte of garbage wants. What stood above the base is sent again from there.
 */
static __noinline int cut_segment(struct __sk_buff *skb, struct packet *p, __u32 payload)
{
	__u32 at = p ? p->l4 + 12 : 0; /* control, checksum, urgent pointer */
	__be32 words[2], control;
	__u64 sum;

	if (!p || bpf_skb_load_bytes(skb, at, words, sizeof(words)))
		return 0;
	sum = (__u32)~payload_sum(skb, p->l4 + p->tcp_header_len, payload);
	control = words[0] & ~bpf_htonl((TCP_FIN | TCP_PSH | TCP_URG) << 16);
	sum = changed(sum, words[0], control);
	sum = changed(sum, words[1], words[1] & bpf_htonl(0xffff0000));
	words[0] = control;
	words[1] &= bpf_htonl(0xffff0000);
	bpf_skb_store_bytes(skb, at, words, sizeof(words), 0);
	bpf_l4_csum_replace(skb, p->l4 + 16, 0, fold32(sum), 0);
	drop_payload_length(skb, p, payload);
	p->end -= payload;
	p->flags &= ~(TCP_FIN | TCP_PSH | TCP_URG);
	count(TPOT_R_SPLICE_CUT);
	return bpf_skb_change_tail(skb, p->end, 0) == 0;
}

struct option_mapping {
	__u32 acknowledgment_delta;
	__u32 timestamp_delta;
	__u32 echo_delta;
	__u32 flags; /* TPOT_SPLICE_* */
};

static __always_inline void add_at(struct tpot_option_area *area, __u32 at, __u32 delta)
{
	__u32 number = bpf_ntohl(read_be32(area, at)) + delta;

	area->bytes[at & 63] = number >> 24;
	area->bytes[(at + 1) & 63] = number >> 16;
	area->bytes[(at + 2) & 63] = number >> 8;
	area->bytes[(at + 3) & 63] = number;
}

/*
 * Maps an option area in place: timestamps and SACK edges where both legs have them; every other option becomes NOPs,
 * and an illegal length ends the list. One 32-bit word or one byte a step; see scan_options for the volatile bytes.
 */
__noinline int map_options(struct tpot_option_area *area, const struct option_mapping *by)
{
	volatile __u8 cursor = 0, words = 0, blanks = 0, second = 0;

	if (!area || !by)
		return 0;
	for (int step = 0; step < TCP_MAX_OPTIONS; step++) {
		__u32 at = cursor;

		if (at >= area->length || at >= TCP_MAX_OPTIONS)
			break;
		if (words > 0) {
			add_at(area, at, second == 0 ? by->acknowledgment_delta
					: second == 1 ? by->timestamp_delta : by->echo_delta);
			second = second == 0 ? 0 : 2;
			words = words - 1;
			cursor = at + 4;
			continue;
		}
		__u8 kind = area->bytes[at & 63], length = area->bytes[(at + 1) & 63];

		if (blanks > 0 || kind == OPT_NOP) {
			area->bytes[at & 63] = OPT_NOP;
			blanks = blanks > 0 ? blanks - 1 : 0;
			cursor = at + 1;
			continue;
		}
		if (kind == OPT_EOL)
			break;
		if (length < 2 || at + length > area->length) {
			area->bytes[at & 63] = OPT_EOL;
			break;
		}
		if (kind == OPT_TIMESTAMPS && length == OPT_TIMESTAMPS_LEN && (by->flags & TPOT_SPLICE_TIMESTAMPS)) {
			words = 2;
			second = 1;
			cursor = at + 2;
		} else if (kind == OPT_SACK && length > 2 && (length & 7) == 2 && (by->flags & TPOT_SPLICE_SACK)) {
			words = (length - 2) >> 2;
			second = 0;
			cursor = at + 2;
		} else {
			area->bytes[at & 63] = OPT_NOP;
			blanks = length - 1;
			cursor = at + 1;
		}
	}
	return 1;
}

static __noinline int rewrite_options(struct __sk_buff *skb, const struct packet *p, const struct tpot_splice *splice)
{
	struct option_mapping by = {};
	struct tpot_option_area area;
	__s64 sum;

	if (!p || !splice || !load_options(skb, p, &area))
		return 0;
	sum = bpf_csum_diff((__be32 *)area.bytes, TCP_MAX_OPTIONS, 0, 0, 0);
	by.acknowledgment_delta = splice->acknowledgment_delta;
	by.timestamp_delta = splice->timestamp_delta;
	by.echo_delta = p->flags & TCP_ACK ? splice->echo_delta : 0;
	by.flags = splice->flags;
	map_options(&area, &by);
	sum = bpf_csum_diff(0, 0, (__be32 *)area.bytes, TCP_MAX_OPTIONS, sum);
	__u32 length = area.length;

	if (length == 0 || length > TCP_MAX_OPTIONS)
		return length == 0;
	asm volatile("" : "+r"(length));
	if (bpf_skb_store_bytes(skb, p->l4 + TCP_HLEN, area.bytes, ((length - 1) & 63) + 1, 0))
		return 0;
	return bpf_l4_csum_replace(skb, p->l4 + 16, 0, (__u32)sum, 0) == 0;
}

/* RFC 7323 section 2.3, twice: out of the scale of the sender's leg, into that of the other. */
static __always_inline __u32 map_window(__u32 window, const struct tpot_splice *splice)
{
	__u32 mapped = (window << (splice->scale_up & 15)) >> (splice->scale_down & 15);

	return mapped > 0xffff ? 0xffff : mapped;
}

static __always_inline __be32 map_control(__be32 control, const struct tpot_splice *splice)
{
	__u32 host = bpf_ntohl(control);

	if (!(splice->flags & TPOT_SPLICE_ECN))
		host &= ~((TCP_ECE | TCP_CWR) << 16);
	return bpf_htonl((host & 0xffff0000) | map_window(host & 0xffff, splice));
}

static __always_inline __be32 ports_of(const struct tpot_flow *flow)
{
	__be32 ports;

	__builtin_memcpy(&ports, &flow->source_port, sizeof(ports));
	return ports;
}

/* Everything of the TCP header but its checksum. Returns what changed, as a sum. */
static __always_inline __u64 map_segment(struct segment *to, const struct segment *from, const struct packet *p,
					 const struct tpot_splice *splice, int usual)
{
	__u64 sum;

	*to = *from;
	to->ports = ports_of(&splice->out);
	to->sequence = add_be32(from->sequence, splice->sequence_delta);
	if (p->flags & TCP_ACK)
		to->acknowledgment = add_be32(from->acknowledgment, splice->acknowledgment_delta);
	to->control = map_control(from->control, splice);
	sum = changed(0, from->ports, to->ports);
	sum = changed(sum, from->sequence, to->sequence);
	sum = changed(sum, from->acknowledgment, to->acknowledgment);
	sum = changed(sum, from->control, to->control);
	if (!usual)
		return sum;
	to->options[1] = add_be32(from->options[1], splice->timestamp_delta);
	if (p->flags & TCP_ACK)
		to->options[2] = add_be32(from->options[2], splice->echo_delta);
	sum = changed(sum, from->options[1], to->options[1]);
	return changed(sum, from->options[2], to->options[2]);
}

/* 0: failed. 1: done. 2: there are options left to map. */
static __noinline int rewrite_tcp(struct __sk_buff *skb, const struct packet *p, const struct tpot_splice *splice)
{
	struct segment from = {}, to;
	int usual = 0;
	__u64 sum;

	if (!p || !splice)
		return 0;
	if (p->tcp_header_len == USUAL_HLEN && (splice->flags & TPOT_SPLICE_TIMESTAMPS)) {
		if (bpf_skb_load_bytes(skb, p->l4, &from, USUAL_HLEN))
			return 0;
		usual = from.options[0] == USUAL_OPTIONS;
	} else if (bpf_skb_load_bytes(skb, p->l4, &from, TCP_HLEN)) {
		return 0;
	}
	sum = map_segment(&to, &from, p, splice, usual);
	if (usual ? bpf_skb_store_bytes(skb, p->l4, &to, USUAL_HLEN, 0) : bpf_skb_store_bytes(skb, p->l4, &to, TCP_HLEN, 0))
		return 0;
	if (bpf_l4_csum_replace(skb, p->l4 + 16, 0, fold32(sum), 0))
		return 0;
	return usual || p->tcp_header_len == TCP_HLEN ? 1 : 2;
}

/* What a router does to a header, and the new addresses. TPOT_R_NONE, or why the packet ends here. */
static __noinline __u32 rewrite_ipv4(struct __sk_buff *skb, const struct packet *p, const struct tpot_splice *splice)
{
	__be32 from[5], to[5]; /* the header in words */
	__u32 first, third;
	__u64 addresses;

	if (!p || !splice || bpf_skb_load_bytes(skb, p->l3, from, IPV4_HLEN))
		return TPOT_R_DROP_SPLICE_FAILED;
	__builtin_memcpy(to, from, sizeof(to));
	first = bpf_ntohl(from[0]);
	third = bpf_ntohl(from[2]);
	if (third >> 24 <= 1)
		return TPOT_R_DROP_SPLICE_TTL;
	if (!(splice->flags & TPOT_SPLICE_ECN)) {
		if (((first >> 16) & ECN_MASK) == ECN_CE)
			return TPOT_R_DROP_SPLICE_CONGESTION;
		first &= ~(ECN_MASK << 16);
	}
	to[0] = bpf_htonl(first);
	third -= 1 << 24;
	to[2] = bpf_htonl(third);
	to[3] = splice->out.source[3];
	to[4] = splice->out.destination[3];
	addresses = changed(changed(0, from[3], to[3]), from[4], to[4]);
	/* The checksum field itself cancels out: both words hold the old one. */
	__u64 sum = changed(changed(addresses, from[0], to[0]), from[2], to[2]);
	__u16 checksum = ~fold16(sum + (__u16)~bpf_htons(third & 0xffff));

	to[2] = bpf_htonl((third & 0xffff0000) | bpf_ntohs(checksum));
	if (bpf_skb_store_bytes(skb, p->l3, to, IPV4_HLEN, 0) ||
	    bpf_l4_csum_replace(skb, p->l4 + 16, 0, fold32(addresses), BPF_F_PSEUDO_HDR))
		return TPOT_R_DROP_SPLICE_FAILED;
	return TPOT_R_NONE;
}

static __noinline __u32 rewrite_ipv6(struct __sk_buff *skb, const struct packet *p, const struct tpot_splice *splice)
{
	struct ipv6 ip;
	__u64 addresses = 0;
	__u32 first;

	if (!p || !splice || bpf_skb_load_bytes(skb, p->l3, &ip, sizeof(ip)))
		return TPOT_R_DROP_SPLICE_FAILED;
	if (ip.hop_limit <= 1)
		return TPOT_R_DROP_SPLICE_TTL;
	ip.hop_limit--;
	first = bpf_ntohl(ip.version_class_label);
	if (!(splice->flags & TPOT_SPLICE_ECN)) {
		if (((first >> 20) & ECN_MASK) == ECN_CE)
			return TPOT_R_DROP_SPLICE_CONGESTION;
		ip.version_class_label = bpf_htonl(first & ~(ECN_MASK << 20));
	}
	for (int i = 0; i < 4; i++) {
		addresses = changed(addresses, p->flow.source[i], splice->out.source[i]);
		addresses = changed(addresses, p->flow.destination[i], splice->out.destination[i]);
	}
	copy_address(ip.source, splice->out.source);
	copy_address(ip.destination, splice->out.destination);
	if (bpf_skb_store_bytes(skb, p->l3, &ip, sizeof(ip), 0) ||
	    bpf_l4_csum_replace(skb, p->l4 + 16, 0, fold32(addresses), BPF_F_PSEUDO_HDR))
		return TPOT_R_DROP_SPLICE_FAILED;
	return TPOT_R_NONE;
}

#endif
