/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Numbers of the wire formats and of the tables: named once, used everywhere. */
#ifndef TPOT_CONSTS_H
#define TPOT_CONSTS_H

#define ETH_HLEN 14
#define ETH_P_IPV4 0x0800
#define ETH_P_IPV6_ 0x86DD
#define IPV4_HLEN 20
#define IPV6_HLEN 40
#define IPV6_MIN_MTU 1280
#define TCP_HLEN 20
#define UDP_HLEN 8
#define TCP_MAX_OPTIONS 40
#define IPPROTO_IPIP_ 4
#define IPPROTO_TCP_ 6
#define IPPROTO_UDP_ 17
#define IPPROTO_IPV6_ 41

#define IPV4_DF 0x4000
#define IPV4_FRAGMENT_MASK 0x3fff /* MF and the offset: anything set is a fragment */
#define ECN_MASK 3
#define ECN_CE 3
#define OUTER_TTL 64
#define ICMP_HLEN 8
#define IPPROTO_ICMP_ 1
#define IPPROTO_ICMPV6_ 58

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define TCP_ECE 0x40
#define TCP_CWR 0x80

#define OPT_EOL 0
#define OPT_NOP 1
#define OPT_MSS 2
#define OPT_MSS_LEN 4
#define OPT_SACK 5
#define OPT_TIMESTAMPS 8
#define OPT_TIMESTAMPS_LEN 10
#define OPT_MPTCP 30
#define MPTCP_SUBTYPE_JOIN 1

/* The TPOT option, RFC 6994 layout: kind, length, ExID, then version and type in one byte. */
#define TPOT_VERSION 1
#define TPOT_TYPE_REQUEST 1
#define TPOT_TYPE_REPLY 2
#define TPOT_REQUEST_LEN 8
#define TPOT_REPLY4_LEN 12
#define TPOT_REPLY4_UDP_LEN 14
#define TPOT_REPLY6_LEN 20
#define TPOT_MAC_LEN 4 /* makes the IPv4 forms longer; the length tells */
#define TPOT_REQUEST_KEYED_LEN (TPOT_REQUEST_LEN + TPOT_MAC_LEN)
#define TPOT_REPLY4_KEYED_LEN (TPOT_REPLY4_LEN + TPOT_MAC_LEN)
#define TPOT_REPLY4_UDP_KEYED_LEN (TPOT_REPLY4_UDP_LEN + TPOT_MAC_LEN)
#define TPOT_HOPS_AT 5
#define TPOT_CAPABILITY_TRACE 0x8000
#define TPOT_CAPABILITY_RETURN 0x4000
/* Bits that mean a transform of the stream, those to come included: as many as the IPv6 reply can say. */
#define TPOT_CAPABILITY_TRANSFORMS 0x007f

/* Registered for GUE; over IPv6, where a reply has no room for a port, the only one. */
#define TPOT_UDP_PORT 6080
#define TPOT_UDP_FIRST_SOURCE_PORT 0xc000

/* Changes whenever a map's layout does: a restarted node adopts pinned maps of its own version only. */
#define TPOT_LAYOUT_VERSION 7

#define TPOT_POLICY_ROWS 256 /* per bank; two banks, so that a new table replaces the old in one store */
#define TPOT_MAX_KEYS 4 /* per bank, as with policy rows */
#define TPOT_MAX_HELD 64
#define TPOT_HELD_BYTES 16384 /* a power of two */
#define TPOT_MAX_TRANSIENT 65536
#define TPOT_MAX_PENDING 16384
#define TPOT_MAX_TAKEN 131072
#define TPOT_MAX_TUNNELS 131072
#define TPOT_MAX_TUNNELS_CLOSED 16384
#define TPOT_MAX_BLACK_HOLES 4096
#define TPOT_MAX_UDP_NODES 4096
#define TPOT_MAX_RETURN_SOURCES 4096
#define TPOT_MAX_SPLICES 262144 /* entries: two a connection */
#define TPOT_MAX_CLIENTS 262144 /* as many as there can be connections, taken or spliced */
#define TPOT_MAX_TRUST 2048 /* an old list and a new one */
#define TPOT_MAX_BYPASS 131072 /* prefixes of both banks */
#define TPOT_MAX_OWN 16384

#endif
