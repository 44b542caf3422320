/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Segments that are too large for a return tunnel on this machine's own link, or on the way by what the MSS says. Nobody has lowered the MSS for it, since most
 * connections never need one: the sender is told as a router on the way would, by ICMP, and TCP sends it again in
 * smaller ones. Errors of routers about return tunnels: tpot_icmp.h.
 */
#ifndef TPOT_RETURN_MTU_H
#define TPOT_RETURN_MTU_H

/* On an interface with Ethernet headers the frame must be addressed to us to come back in. */
static __always_inline int address_to_us(struct __sk_buff *skb, const struct packet *p)
{
	__u8 own[6];

	if (p->outer != 0 || first_header(p) == 0)
		return 0;
	return bpf_skb_load_bytes(skb, 6, own, sizeof(own)) || bpf_skb_store_bytes(skb, 0, own, sizeof(own), 0);
}

/* The socket that has sent this segment gets an error about it, in the name of the source it was for: ours is no martian. */
static __noinline int tell_own_socket(struct __sk_buff *skb, struct packet *p, __u32 mtu)
{
	struct tpot_address source;
	__u32 ethernet;

	if (!p)
		return TC_ACT_SHOT;
	ethernet = p->l3 != 0;
	copy_address(source.address, p->flow.destination);
	if (!is_quotable(p) || !make_error(skb, p, &source, mtu) || (ethernet && address_to_us(skb, p))) {
		count(TPOT_R_ENCAP_FAILED);
		return TC_ACT_SHOT;
	}
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

/*
 * Whether a segment comes through here from somebody who has the destination's address, or says so: neither a socket of ours
 * nor a spliced connection has sent it. It gets no outer header that a filter lets in.
 */
static __noinline int is_only_passing(const struct __sk_buff *skb, const struct packet *p)
{
	return p && skb->ingress_ifindex != 0 && !find_splice_by_out(&p->flow);
}

/* A segment is about to go into a return tunnel. TC_ACT_OK: it fits; TC_ACT_UNSPEC: it goes on plain. */
static __noinline int prepare_return(struct __sk_buff *skb, struct packet *p, struct tpot_tunnel *tunnel)
{
	struct tpot_splice *splice;
	__u32 mtu = 0, room;

	if (!p || !tunnel)
		return TC_ACT_OK;
	if (tunnel->plain) {
		note_returned(tunnel);
		return TC_ACT_UNSPEC;
	}
	room = outer_room(p->family, tunnel->udp);
	bpf_check_mtu(skb, 0, &mtu, 0, 0);
	if (tunnel->largest != 0 && tunnel->largest < mtu)
		mtu = tunnel->largest;
	if (mtu <= room || segment_length(skb, p) + room <= mtu) {
		note_returned(tunnel);
		return TC_ACT_OK;
	}
	splice = find_splice_by_out(&p->flow);
	return splice ? drop_too_big(p, splice, mtu - room) : tell_own_socket(skb, p, mtu - room);
}

#endif
