/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The headers of a spliced segment, mapped in place. splice/mapping.ts is the reference. Checksums are never computed anew: what changed is added, so a wrong one stays wrong, and one that is
 * still to be completed (CHECKSUM_PARTIAL, every GSO packet) gets the pseudo header's changes only.
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

/* What changed, as sums. */
struct changes {
	__u64 addresses; /* the pseudo header */
	__u64 header;    /* of an IPv6 header, the rest; an IPv4 header has a sum of its own */
	__u64 segment;   /* of the TCP header, without its checksum */
};

/* A ones' complement sum of 32-bit words, in which one word changes (RFC 1624). */
static __always_inline __u64 changed(__u64 sum, __u32 from, __u32 to)
{
	return sum + (__u32)~from + to;
}

static __always_inline void set_word(__be32 *word, __be32 to, __u64 *sum)
{
	*sum = changed(*sum, *word, to);
	*word = to;
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

static __always_inline __u16 ipv4_checksum(const struct ipv4 *ip)
{
	const __be32 *words = (const __be32 *)ip;

	return ~fold16((__u64)words[0] + words[1] + words[2] + words[3] + words[4]);
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

/* The sum of a payload, 64 bytes at a time (in the scratch area); for the rare segment that is cut. */
__noinline __u32 payload_sum(struct __sk_buff *skb, __u32 at, __u32 length)
{
	struct tpot_option_area *area = scratch_area();
	__u32 sum = 0;

	if (!area)
		return 0;
	__be32 *chunk = (__be32 *)area->bytes;

	for (__u32 i = 0; i < MAX_CHUNKS && length >= CHUNK; i++) {
		if (bpf_skb_load_bytes(skb, at, chunk, CHUNK))
			return 0;
		sum = bpf_csum_diff(0, 0, chunk, CHUNK, sum);
		at += CHUNK;
		length -= CHUNK;
	}
	if (length == 0)
		return sum;
	__builtin_memset(chunk, 0, CHUNK);
	asm volatile("" : "+r"(length));
	if (bpf_skb_load_bytes(skb, at, chunk, ((length - 1) & (CHUNK - 1)) + 1) == 0)
		sum = bpf_csum_diff(0, 0, chunk, CHUNK, sum);
	return sum;
}

/*
 * Ends a packet there, as its headers say. What a tunnel on this very machine has carried (between namespaces) the kernel
 * does not let shorten, even behind it: such a packet keeps its length, and has zeros, which change no sum, behind its end.
 */
__noinline int end_packet(struct __sk_buff *skb, __u32 end)
{
	struct tpot_option_area *area = scratch_area();
	__u32 length;

	if (bpf_skb_change_tail(skb, end, 0) == 0)
		return 1;
	if (!area || end > skb->len)
		return 0;
	__builtin_memset(area->bytes, 0, CHUNK);
	length = skb->len - end;
	for (__u32 i = 0; i < MAX_CHUNKS && length >= CHUNK; i++) {
		if (bpf_skb_store_bytes(skb, end, area->bytes, CHUNK, 0))
			return 0;
		end += CHUNK;
		length -= CHUNK;
	}
	if (length == 0)
		return 1;
	asm volatile("" : "+r"(length));
	return bpf_skb_store_bytes(skb, end, area->bytes, ((length - 1) & (CHUNK - 1)) + 1, 0) == 0;
}

/* The IP header's length with `to` bytes of payload instead of `from`; IPv4's checksum follows. */
static __always_inline void resize_payload(struct __sk_buff *skb, const struct packet *p, __u32 from, __u32 to)
{
	__u32 at = p->l3 + (p->family == 4 ? 2 : 4);
	__be16 old = 0, new;

	bpf_skb_load_bytes(skb, at, &old, sizeof(old));
	new = bpf_htons(p->l4 - p->l3 + p->tcp_header_len + to - (p->family == 4 ? 0 : IPV6_HLEN));
	if (p->family == 4)
		bpf_l3_csum_replace(skb, p->l3 + 10, old, new, 2);
	bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
	/* the pseudo header's length, which a checksum that is still to be completed has too */
	bpf_l4_csum_replace(skb, p->l4 + 16, bpf_htons(p->tcp_header_len + from), bpf_htons(p->tcp_header_len + to),
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
	resize_payload(skb, p, payload, 0);
	p->end -= payload;
	p->flags &= ~(TCP_FIN | TCP_PSH | TCP_URG);
	return end_packet(skb, p->end);
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
	struct tpot_option_area *area = scratch_area();
	struct option_mapping by = {};
	__s64 sum;

	if (!p || !splice || !area || !load_options(skb, p, area))
		return 0;
	sum = bpf_csum_diff((__be32 *)area->bytes, TCP_MAX_OPTIONS, 0, 0, 0);
	by.acknowledgment_delta = splice->acknowledgment_delta;
	by.timestamp_delta = splice->timestamp_delta;
	by.echo_delta = p->flags & TCP_ACK ? splice->echo_delta : 0;
	by.flags = splice->flags;
	map_options(area, &by);
	sum = bpf_csum_diff(0, 0, (__be32 *)area->bytes, TCP_MAX_OPTIONS, sum);
	__u32 length = area->length;

	if (length == 0 || length > TCP_MAX_OPTIONS)
		return length == 0;
	asm volatile("" : "+r"(length));
	if (bpf_skb_store_bytes(skb, p->l4 + TCP_HLEN, area->bytes, ((length - 1) & 63) + 1, 0))
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

/* Everything of the TCP header but its checksum. */
static __always_inline void map_segment(struct segment *tcp, const struct packet *p, const struct tpot_splice *splice,
					int usual, __u64 *sum)
{
	set_word(&tcp->ports, ports_of(&splice->out), sum);
	set_word(&tcp->sequence, add_be32(tcp->sequence, splice->sequence_delta), sum);
	set_word(&tcp->control, map_control(tcp->control, splice), sum);
	if (usual)
		set_word(&tcp->options[1], add_be32(tcp->options[1], splice->timestamp_delta), sum);
	if (!(p->flags & TCP_ACK))
		return;
	set_word(&tcp->acknowledgment, add_be32(tcp->acknowledgment, splice->acknowledgment_delta), sum);
	if (usual)
		set_word(&tcp->options[2], add_be32(tcp->options[2], splice->echo_delta), sum);
}

/* What a router does to a header, and the new addresses. TPOT_R_NONE, or why the packet ends here. */
static __always_inline __u32 map_ip4(__be32 *ip, const struct tpot_splice *splice, struct changes *changes)
{
	__u32 first = bpf_ntohl(ip[0]), third = bpf_ntohl(ip[2]);
	__u64 sum;

	if (third >> 24 <= 1)
		return TPOT_R_DROP_SPLICE_TTL;
	if (!(splice->flags & TPOT_SPLICE_ECN)) {
		if (((first >> 16) & ECN_MASK) == ECN_CE)
			return TPOT_R_DROP_SPLICE_CONGESTION;
		first &= ~(ECN_MASK << 16);
	}
	third -= 1 << 24;
	set_word(&ip[3], splice->out.source[3], &changes->addresses);
	set_word(&ip[4], splice->out.destination[3], &changes->addresses);
	sum = changes->addresses;
	set_word(&ip[0], bpf_htonl(first), &sum);
	set_word(&ip[2], bpf_htonl(third), &sum);
	/* Both values of that word hold the old checksum, which so cancels out. */
	__u16 checksum = ~fold16(sum + (__u16)~bpf_htons(third & 0xffff));

	ip[2] = bpf_htonl((third & 0xffff0000) | bpf_ntohs(checksum));
	return TPOT_R_NONE;
}

static __always_inline __u32 map_ip6(__be32 *ip, const struct tpot_splice *splice, struct changes *changes)
{
	__u32 first = bpf_ntohl(ip[0]), second = bpf_ntohl(ip[1]);

	if ((second & 0xff) <= 1)
		return TPOT_R_DROP_SPLICE_TTL;
	if (!(splice->flags & TPOT_SPLICE_ECN)) {
		if (((first >> 20) & ECN_MASK) == ECN_CE)
			return TPOT_R_DROP_SPLICE_CONGESTION;
		set_word(&ip[0], bpf_htonl(first & ~(ECN_MASK << 20)), &changes->header);
	}
	set_word(&ip[1], bpf_htonl(second - 1), &changes->header);
	for (int i = 0; i < 4; i++) {
		set_word(&ip[2 + i], splice->out.source[i], &changes->addresses);
		set_word(&ip[6 + i], splice->out.destination[i], &changes->addresses);
	}
	return TPOT_R_NONE;
}

/*
 * The TCP checksum with one call. Only the kernel knows whether it is complete (then it is the complement of a sum,
 * and everything counts) or still to be completed (then it is the sum of the pseudo header). So the pseudo header's
 * change is added here, which is right for the latter; finish_checksum leaves that alone, and for the former takes off
 * what was added and everything that changed.
 */
static __always_inline void start_checksum(struct segment *tcp, const struct changes *changes)
{
	tcp->checksum = fold16((__u64)tcp->checksum + fold32(changes->addresses));
}

static __always_inline long finish_checksum(struct __sk_buff *skb, const struct packet *p, const struct changes *changes)
{
	__u32 addresses = fold32(changes->addresses);

	/* Where a device has summed up the packet (CHECKSUM_COMPLETE): by what no checksum in the packet makes up for. */
	bpf_csum_update(skb, p->family == 4 ? ~addresses : fold32(changes->header));
	return bpf_l4_csum_replace(skb, p->l4 + 16, 0, fold32(changes->segment + addresses + addresses), 0);
}

/* No reason: everything is mapped but the options. */
#define OPTIONS_LEFT TPOT_R_COUNT

/* Both headers of a segment. TPOT_R_NONE, OPTIONS_LEFT, or why the packet ends here. */
static __always_inline __u32 rewrite_headers(struct __sk_buff *skb, const struct packet *p, const struct tpot_splice *splice)
{
	struct changes changes = {};
	__u64 l4 = p->l4 & 0xff;
	__u32 reason;

	if (!ensure_linear(skb, l4 + (p->tcp_header_len & 0x3f)))
		return TPOT_R_DROP_SPLICE_FAILED;
	void *data = frame_start(skb), *end = frame_end(skb);
	struct segment *tcp = data + l4;
	__be32 *ip = data + (p->l3 & 0xff);

	if ((void *)tcp + TCP_HLEN > end || (void *)ip + IPV4_HLEN > end)
		return TPOT_R_DROP_SPLICE_FAILED;
	int usual = p->tcp_header_len == USUAL_HLEN && (splice->flags & TPOT_SPLICE_TIMESTAMPS) &&
		    (void *)(tcp + 1) <= end && tcp->options[0] == USUAL_OPTIONS;

	if (p->family == 4)
		reason = map_ip4(ip, splice, &changes);
	else
		reason = (void *)ip + IPV6_HLEN > end ? TPOT_R_DROP_SPLICE_FAILED : map_ip6(ip, splice, &changes);
	if (reason != TPOT_R_NONE)
		return reason;
	map_segment(tcp, p, splice, usual, &changes.segment);
	start_checksum(tcp, &changes);
	if (finish_checksum(skb, p, &changes))
		return TPOT_R_DROP_SPLICE_FAILED;
	return usual || p->tcp_header_len == TCP_HLEN ? TPOT_R_NONE : OPTIONS_LEFT;
}

#endif
