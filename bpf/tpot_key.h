/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Keyed requests and replies (protocol, "Keys"): SipHash-2-4 over the handshake and the option, cut to 32 bits. The
 * reference is tpot/key.ts. Without keys one test of a word is all that this costs.
 */
#ifndef TPOT_KEY_H
#define TPOT_KEY_H

/* The MAC's input as it is hashed: 64 bytes, all in network order. */
struct tpot_mac_input {
	struct tpot_flow flow; /* of the SYN */
	__be32 seq;            /* of the SYN */
	__be32 isn;            /* of the SYN-ACK; 0 in a request */
	__u8 option[20];       /* without its MAC; hops of a request are 0 */
} __attribute__((aligned(8)));

/* Two banks: the word in tpot_config says which counts and how many keys it has. The first of a bank signs requests. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * TPOT_MAX_KEYS);
	__type(key, __u32);
	__type(value, struct tpot_key);
} tpot_keys SEC(".maps");

/* Only tc programs use it; they run with bottom halves disabled, so that none interrupts another on its processor. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tpot_mac_input);
} tpot_mac_scratch SEC(".maps");

static __always_inline __u64 rotate(__u64 value, __u32 by)
{
	return (value << by) | (value >> (64 - by));
}

static __always_inline void sip_rounds(__u64 *v, int rounds)
{
#pragma unroll
	for (int i = 0; i < rounds; i++) {
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

static __always_inline void sip_word(__u64 *v, __u64 word)
{
	v[3] ^= word;
	sip_rounds(v, 2);
	v[0] ^= word;
}

/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012) of an input, its first four bytes as they go on the wire. A global
 * function, so that the verifier checks it once and not per caller.
 */
__noinline __u32 tpot_siphash(const struct tpot_mac_input *input, const struct tpot_key *key)
{
	if (!input || !key)
		return 0;
	const __u64 *words = (const __u64 *)input;
	__u64 v[4] = {
		key->k0 ^ 0x736f6d6570736575ULL, key->k1 ^ 0x646f72616e646f6dULL,
		key->k0 ^ 0x6c7967656e657261ULL, key->k1 ^ 0x7465646279746573ULL,
	};

#pragma unroll
	for (int i = 0; i < (int)(sizeof(*input) / sizeof(__u64)); i++)
		sip_word(v, words[i]);
	sip_word(v, (__u64)sizeof(*input) << 56);
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static __always_inline struct tpot_key *key_at(const struct tpot_config *config, __u32 index)
{
	__u32 at = (config->keys >> 31) * TPOT_MAX_KEYS + index;

	return bpf_map_lookup_elem(&tpot_keys, &at);
}

/* The MAC with one of the keys in force. The socket programs alone sign, on their stack: others may interrupt them. */
static __always_inline __u32 sign(const struct tpot_config *config, const struct tpot_mac_input *input, __u32 index)
{
	struct tpot_key *key = index < TPOT_MAX_KEYS ? key_at(config, index) : 0;

	return key ? tpot_siphash(input, key) : 0;
}

/* What both ends agree on of the option whose `length` bytes, MAC included, stand at `at`. */
static __always_inline void copy_option(struct tpot_mac_input *input, const struct tpot_option_area *area, __u32 at,
					__u32 length)
{
#pragma unroll
	for (__u32 i = 0; i < sizeof(input->option); i++)
		input->option[i] = i + TPOT_MAC_LEN < length ? area->bytes[(at + i) & 63] : 0;
}

/*
 * Which of our keys, counted from 1, made the MAC of the option at `at` in the area that read_options() has left in the scratch
 * map, in a SYN, or in a SYN-ACK when `answer`. 0: none.
 */
__noinline int key_of(const struct packet *p, __u32 at, __u32 length, int answer)
{
	struct tpot_option_area *area = scratch_area();
	struct tpot_config *config = config_get();
	__u32 zero = 0;
	struct tpot_mac_input *input = bpf_map_lookup_elem(&tpot_mac_scratch, &zero);

	if (!p || !area || !config || !input)
		return 0;
	if (answer)
		flow_reverse(&input->flow, &p->flow);
	else
		input->flow = p->flow;
	input->seq = bpf_htonl(answer ? p->ack - 1 : p->seq);
	input->isn = bpf_htonl(answer ? p->seq : 0);
	copy_option(input, area, at, length);
	if (!answer)
		input->option[TPOT_HOPS_AT] = 0;
	__u32 mac = bpf_ntohl(read_be32(area, at + length - TPOT_MAC_LEN));

	for (__u32 i = 0; i < TPOT_MAX_KEYS; i++) {
		if (i >= (config->keys & 0x7fffffff))
			break;
		struct tpot_key *key = key_at(config, i);

		if (key && bpf_htonl(tpot_siphash(input, key)) == mac)
			return i + 1;
	}
	return 0;
}

/* Whether the node may take a SYN with this request: a MAC must be right where there is one, or has to be one. Notes whose it is. */
static __always_inline int request_admitted(const struct packet *p, struct option_scan *scan,
					    const struct tpot_config *config)
{
	if (!scan->request_keyed)
		return !(config->flags & TPOT_FLAG_REQUIRE_KEY);
	scan->request_keyed = config->keys ? key_of(p, scan->hops_at - TPOT_HOPS_AT, TPOT_REQUEST_KEYED_LEN, 0) : 0;
	return scan->request_keyed != 0;
}

/* A keyed request gets a keyed reply; an unkeyed one does not. */
static __always_inline int reply_admitted(const struct packet *p, const struct option_scan *scan,
					  const struct tpot_pending *pending)
{
	if (!pending->keyed)
		return scan->reply_keyed == 0;
	return scan->reply_keyed != 0 && key_of(p, scan->reply_at, scan->reply_keyed, 1);
}

/* Sequence and acknowledgment numbers of the TCP header that a socket is about to send. */
static __always_inline int numbers_sent(struct bpf_sock_ops *ops, __be32 *seq, __be32 *ack)
{
	struct tcp *tcp = ops->skb_data;

	if ((void *)(tcp + 1) > ops->skb_data_end)
		return 0;
	*seq = tcp->seq;
	*ack = tcp->ack;
	return 1;
}

#endif
