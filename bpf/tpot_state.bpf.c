// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What no socket option tells: the last timestamp a connection has received (RFC 7323 TS.Recent). User space runs this
 * over a frame that is a `struct tpot_question`, in the network namespace of the connection.
 *
 * An object of its own, because it needs the kernel's BTF (CONFIG_DEBUG_INFO_BTF): without it connections with
 * timestamps stay relayed, and everything else works.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tpot_structs.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct tcp_options_received {
	__u32 ts_recent;
} __attribute__((preserve_access_index));

struct tcp_sock {
	struct tcp_options_received rx_opt;
} __attribute__((preserve_access_index));

struct tpot_question {
	struct tpot_flow flow; /* as its segments arrive */
	__u32 family;          /* 4 or 6 */
	__u32 timestamp;       /* the answer */
};

static __always_inline struct bpf_sock *find(struct __sk_buff *skb, const struct tpot_question *question)
{
	struct bpf_sock_tuple tuple = {};

	if (question->family == 4) {
		tuple.ipv4.saddr = question->flow.source[3];
		tuple.ipv4.daddr = question->flow.destination[3];
		tuple.ipv4.sport = question->flow.source_port;
		tuple.ipv4.dport = question->flow.destination_port;
		return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(tuple.ipv6.saddr, question->flow.source, 16);
	__builtin_memcpy(tuple.ipv6.daddr, question->flow.destination, 16);
	tuple.ipv6.sport = question->flow.source_port;
	tuple.ipv6.dport = question->flow.destination_port;
	return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
}

/* Returns 1 with the answer in the frame, 0 when there is no such connection. */
SEC("tc") int tpot_timestamp(struct __sk_buff *skb)
{
	struct tpot_question question;
	struct tcp_sock *tcp;
	struct bpf_sock *sk;
	int found = 0;

	if (bpf_skb_load_bytes(skb, 0, &question, sizeof(question)))
		return 0;
	sk = find(skb, &question);
	if (!sk)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp) {
		question.timestamp = tcp->rx_opt.ts_recent;
		found = 1;
	}
	bpf_sk_release(sk);
	if (found)
		bpf_skb_store_bytes(skb, 0, &question, sizeof(question), 0);
	return found;
}
