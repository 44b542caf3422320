/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The option area of a TCP header and the TPOT option in it. */
#ifndef TPOT_OPTION_H
#define TPOT_OPTION_H

/* Twice the largest area, zero filled: an offset masked to 63 is in bounds, and reading past the end meets EOL. */
struct tpot_option_area {
	__u8 bytes[64];
	__u32 length;
};

struct option_scan {
	__u8 legal;       /* every length fits */
	__u8 has_request;
	__u8 has_reply;
	__u8 mp_join;
	__u8 mss_at;      /* offset of the MSS value in the area; 0: none */
	__u8 hops;
	__u8 hops_at;     /* offset of the hops of the request; 0: none */
	__u8 request_keyed; /* it has a MAC; once that was checked, by which key, from 1 */
	__u8 reply_at;    /* offset of an IPv4 reply */
	__u8 reply_keyed; /* its length when it has a MAC */
	__u16 request_capabilities;
	__be32 reply_address[4];
	__be16 reply_udp_port;
	__u16 reply_capabilities;
};

/* 0 when the TCP header does not lie wholly inside the packet, or the packet inside the frame. */
static __always_inline int load_options(struct __sk_buff *skb, const struct packet *p, struct tpot_option_area *area)
{
	__u32 length = p->tcp_header_len - TCP_HLEN;

	__builtin_memset(area, 0, sizeof(*area));
	area->length = length;
	if (p->l4 + p->tcp_header_len > p->end || p->end > skb->len)
		return 0;
	if (length == 0)
		return 1;
	if (length > TCP_MAX_OPTIONS)
		return 0;
	/* Older verifiers do not learn from `== 0` that the rest is at least 1: the mask says so, the barrier keeps it. */
	asm volatile("" : "+r"(length));
	return bpf_skb_load_bytes(skb, p->l4 + TCP_HLEN, area->bytes, ((length - 1) & 63) + 1) == 0;
}

static __always_inline __u16 read_u16(const struct tpot_option_area *area, __u32 at)
{
	return (area->bytes[at & 63] << 8) | area->bytes[(at + 1) & 63];
}

static __always_inline __be32 read_be32(const struct tpot_option_area *area, __u32 at)
{
	return bpf_htonl(((__u32)read_u16(area, at) << 16) | read_u16(area, at + 2));
}

static __always_inline void scan_reply(const struct tpot_option_area *area, __u32 at, __u32 length, struct option_scan *scan)
{
	scan->reply_capabilities = read_u16(area, at + 6);
	map_ipv4(scan->reply_address, read_be32(area, at + 8));
	scan->reply_at = at;
	scan->reply_keyed = length == TPOT_REPLY4_KEYED_LEN || length == TPOT_REPLY4_UDP_KEYED_LEN ? length : 0;
	scan->reply_udp_port = length == TPOT_REPLY4_UDP_LEN || length == TPOT_REPLY4_UDP_KEYED_LEN
				       ? bpf_htons(read_u16(area, at + 12)) : 0;
	scan->has_reply = 4;
}

/* One experimental option (RFC 6994): takes it in when it is ours, ignores it otherwise. The first one counts. */
static __always_inline int scan_experiment(const struct tpot_option_area *area, __u32 at, __u32 length, __u32 exids,
				      struct option_scan *scan)
{
	__be16 exid = exids >> 16, exid6 = exids & 0xffff;

	if (!area || !scan)
		return 0;
	__be16 id = bpf_htons(read_u16(area, at + 2));

	/* The IPv6 reply has no field for them: the ExID counts on from exid6. */
	__u16 accepted = bpf_ntohs(id) - bpf_ntohs(exid6);

	if (accepted <= TPOT_CAPABILITY_TRANSFORMS && length == TPOT_REPLY6_LEN && !scan->has_reply) {
		scan->has_reply = 6;
		scan->reply_capabilities = accepted;
		scan->reply_address[0] = read_be32(area, at + 4);
		scan->reply_address[1] = read_be32(area, at + 8);
		scan->reply_address[2] = read_be32(area, at + 12);
		scan->reply_address[3] = read_be32(area, at + 16);
		return 0;
	}
	if (id != exid || length < 5)
		return 0;
	__u8 version_type = area->bytes[(at + 4) & 63];

	if (version_type == (TPOT_VERSION << 4 | TPOT_TYPE_REQUEST) && !scan->has_request &&
	    (length == TPOT_REQUEST_LEN || length == TPOT_REQUEST_KEYED_LEN)) {
		scan->has_request = 1;
		scan->request_keyed = length == TPOT_REQUEST_KEYED_LEN;
		scan->hops_at = at + TPOT_HOPS_AT;
		scan->hops = area->bytes[(at + 5) & 63];
		scan->request_capabilities = read_u16(area, at + 6);
	} else if (version_type == (TPOT_VERSION << 4 | TPOT_TYPE_REPLY) && !scan->has_reply &&
		   (length == TPOT_REPLY4_LEN || length == TPOT_REPLY4_UDP_LEN || length == TPOT_REPLY4_KEYED_LEN ||
		    length == TPOT_REPLY4_UDP_KEYED_LEN)) {
		scan_reply(area, at, length, scan);
	}
	return 0;
}

/*
 * Walks the area once. Stops at EOL and at the first illegal length, which makes the area not `legal`.
 *
 * A global function, so that the verifier checks it once and not per caller. The cursor lives in one volatile byte:
 * the verifier does not follow the value of a stored byte, so all paths of one step look the same to it and the
 * walk costs it 40 steps instead of a tree of them.
 */
__noinline int scan_options(const struct tpot_option_area *area, struct option_scan *scan, __u32 kind, __u32 exids)
{
	volatile __u8 cursor = 0;

	if (!area || !scan)
		return 0;
	__builtin_memset(scan, 0, sizeof(*scan));
	scan->legal = 1;
	for (int step = 0; step < TCP_MAX_OPTIONS; step++) {
		__u32 at = cursor;

		if (at >= area->length || at >= TCP_MAX_OPTIONS)
			break;
		__u8 this_kind = area->bytes[at & 63];

		if (this_kind == OPT_EOL)
			break;
		__u32 length = this_kind == OPT_NOP ? 1 : area->bytes[(at + 1) & 63];

		cursor = at + length;
		if (this_kind == OPT_NOP)
			continue;
		if (length < 2 || at + length > area->length) {
			scan->legal = 0;
			break;
		}
		if (this_kind == OPT_MSS && length == OPT_MSS_LEN && scan->mss_at == 0)
			scan->mss_at = at + 2;
		else if (this_kind == OPT_MPTCP && length >= 3 && area->bytes[(at + 2) & 63] >> 4 == MPTCP_SUBTYPE_JOIN)
			scan->mp_join = 1;
		else if (this_kind == kind && length >= 4)
			scan_experiment(area, at, length, exids, scan);
	}
	return 1;
}

/*
 * The area stands in a map, for all frames of a call share 512 bytes of stack. Only tc programs come here; they run with
 * bottom halves disabled, so that none interrupts another on its processor.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tpot_option_area);
} tpot_scratch SEC(".maps");

static __always_inline struct tpot_option_area *scratch_area(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tpot_scratch, &zero);
}

static __noinline int read_options(struct __sk_buff *skb, const struct packet *p, const struct tpot_config *config,
				   struct option_scan *scan)
{
	struct tpot_option_area *area = scratch_area();

	if (!area || !p || !config || !scan || !load_options(skb, p, area))
		return 0;
	return scan_options(area, scan, config->option_kind, ((__u32)config->exid << 16) | config->exid6);
}

/* Lowers the MSS option to `ceiling` where it is higher (RFC 9293 section 3.7.1; protocol rule 9). */
static __noinline int lower_mss(struct __sk_buff *skb, const struct packet *p, const struct option_scan *scan,
			       __u32 by, __u32 ceiling)
{
	if (!p || !scan)
		return 0;
	__u32 at = p->l4 + TCP_HLEN + scan->mss_at;
	__be16 old, new;

	if (scan->mss_at == 0 || bpf_skb_load_bytes(skb, at, &old, sizeof(old)))
		return 0;
	__u32 value = bpf_ntohs(old);

	value = value > by ? value - by : value;
	if (value > ceiling)
		value = ceiling;
	new = bpf_htons(value);
	if (new == old)
		return 0;
	/* An MSS at an odd offset straddles two checksum words: swapping both operands' bytes keeps the sum right. */
	__u16 from = scan->mss_at & 1 ? __builtin_bswap16(old) : old;
	__u16 to = scan->mss_at & 1 ? __builtin_bswap16(new) : new;

	bpf_l4_csum_replace(skb, p->l4 + 16, from, to, 2);
	bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
	return 0;
}

/* Takes one from the hops of the request, in place; 0 when the packet cannot be written to. */
static __always_inline int lower_hops(struct __sk_buff *skb, const struct packet *p, const struct option_scan *scan)
{
	__u8 lowered = scan->hops - 1;
	/* A byte at an odd offset is the lower one of its checksum word. */
	__u32 shift = scan->hops_at & 1 ? 0 : 8;

	if (bpf_skb_store_bytes(skb, p->l4 + TCP_HLEN + scan->hops_at, &lowered, sizeof(lowered), 0))
		return 0;
	bpf_l4_csum_replace(skb, p->l4 + 16, bpf_htons(scan->hops << shift), bpf_htons(lowered << shift), 2);
	return 1;
}

#endif
