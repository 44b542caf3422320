/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Layouts shared with user space. The TypeScript side is generated from this object's BTF, never kept by hand. */
#ifndef TPOT_STRUCTS_H
#define TPOT_STRUCTS_H

enum tpot_flag {
	TPOT_FLAG_NODE = 1,     /* takes SYNs, decapsulates */
	TPOT_FLAG_SOURCE = 2,   /* sockets without storage of their own send requests (the client shim) */
	TPOT_FLAG_DRAINING = 4, /* takes nothing new */
	TPOT_FLAG_EDGE = 8,     /* takes SYNs without a request too */
	TPOT_FLAG_SPLICING = 16, /* there is, or was, something in tpot_splices */
	TPOT_FLAG_CLIENT_LEGS = 32, /* next legs have their clients' addresses: their segments are addressed to others */
	TPOT_FLAG_REQUIRE_KEY = 64, /* takes no SYN whose request has no MAC */
};

enum tpot_row {
	TPOT_ROW_PASSES = 0,
	TPOT_ROW_TAKES = 1,
	TPOT_ROW_YIELDS = 2, /* takes, but not who asks for transforms of which this node would do none */
};

enum tpot_state {
	TPOT_STATE_SYN_RECEIVED = 1,
	TPOT_STATE_SYN_ANSWERED = 2, /* our initial sequence number is known */
	TPOT_STATE_TUNNELLED = 3,    /* rule 8: segments count only from the tunnel */
	TPOT_STATE_PLAIN = 4,        /* rule 8: the reply was stripped, ordinary transparent proxy */
	TPOT_STATE_EDGE = 5,         /* taken without a request */
	TPOT_STATE_SILENT = 6,       /* answered, and its SYN came again without the request: no reply any more */
};

enum tpot_origin {
	TPOT_ORIGIN_NONE = 0,
	TPOT_ORIGIN_TUNNEL = 1,
	TPOT_ORIGIN_EDGE = 2,
	TPOT_ORIGIN_STRIPPED = 3,
};

enum tpot_splice_flag {
	TPOT_SPLICE_HOLD = 1,        /* being handed over: data is dropped here, and sent again by its sender */
	TPOT_SPLICE_TUNNELLED = 2,   /* segments count only from the tunnel, and from this outer source (rule 7) */
	TPOT_SPLICE_FROM_CLIENT = 4, /* of the two entries of a connection, the one of what its client sends */
	TPOT_SPLICE_TIMESTAMPS = 8,  /* both legs have them; otherwise such an option becomes NOPs */
	TPOT_SPLICE_SACK = 16,
	TPOT_SPLICE_ECN = 32,
	TPOT_SPLICE_PEER_FIN = 64,   /* a FIN went the other way: `peer_fin` acknowledges it */
	TPOT_SPLICE_PEER_DONE = 128, /* and it has been acknowledged */
	TPOT_SPLICE_RESET = 256,     /* a RST went either way */
	TPOT_SPLICE_UDP = 512,       /* that tunnel is in UDP; for who lists the connections */
	TPOT_SPLICE_TAPPED = 1024,   /* user space gets a copy of what arrives: see tpot_tap.h */
	TPOT_SPLICE_DOUBTFUL = 2048, /* that RST may not have been taken for one: who goes on sending takes it back */
	TPOT_SPLICE_RETURNS = 4096,  /* its client takes return tunnels: see tpot_return.h */
};

/* Every decision and every drop. The text form is the name in lower case with dashes, without TPOT_R_. */
enum tpot_reason {
	TPOT_R_NONE = 0,
	TPOT_R_TAKEN,
	TPOT_R_TAKEN_EDGE,
	TPOT_R_TAKEN_REPLY_STRIPPED,
	TPOT_R_TRACE_FORWARDED,
	TPOT_R_PASS_HOPS,
	TPOT_R_PASS_BYPASS,
	TPOT_R_PASS_POLICY,
	TPOT_R_PASS_TRANSFORMS,
	TPOT_R_PASS_UNKEYED,
	TPOT_R_PASS_DRAINING,
	TPOT_R_PASS_LIMIT,
	TPOT_R_PASS_CLIENT_LIMIT,
	TPOT_R_PASS_TIME_WAIT,
	TPOT_R_PASS_NO_LISTENER,
	TPOT_R_PASS_LOOP,
	TPOT_R_PASS_MP_JOIN,
	TPOT_R_PASS_LOCAL,
	TPOT_R_PASS_PLAIN_OF_TUNNELLED,
	TPOT_R_DECAP_OK,
	TPOT_R_DECAP_UDP_OK,
	TPOT_R_DROP_DECAP_UNKNOWN,
	TPOT_R_DROP_DECAP_SOURCE,
	TPOT_R_DROP_DECAP_MALFORMED,
	TPOT_R_DROP_DECAP_OPTIONS,
	TPOT_R_DROP_DECAP_NOT_TCP,
	TPOT_R_SYNACK_REPLY,
	TPOT_R_ESTABLISHED,
	TPOT_R_TABLE_FULL,
	TPOT_R_REQUEST_SENT,
	TPOT_R_REQUEST_OMITTED_BLACK_HOLE,
	TPOT_R_REQUEST_OMITTED_RETRIES,
	TPOT_R_REQUEST_OMITTED_LOCAL,
	TPOT_R_REQUEST_OMITTED_LIMIT,
	TPOT_R_REQUEST_OMITTED_UNTRUSTED,
	TPOT_R_REQUEST_OMITTED_KEYED,
	TPOT_R_REQUEST_NO_SPACE,
	TPOT_R_REPLY_ACCEPTED,
	TPOT_R_REPLY_NONE,
	TPOT_R_DROP_REPLY_UNTRUSTED,
	TPOT_R_DROP_REPLY_NOT_UNICAST,
	TPOT_R_DROP_REPLY_OWN,
	TPOT_R_DROP_REPLY_UNKEYED,
	TPOT_R_BLACK_HOLE_LEARNED,
	TPOT_R_ENCAP_OK,
	TPOT_R_ENCAP_UDP_OK,
	TPOT_R_ENCAP_FAILED,
	TPOT_R_SPLICE_FORWARDED,
	TPOT_R_SPLICE_CUT,
	TPOT_R_SPLICE_FORGOTTEN,
	TPOT_R_DROP_SPLICE_HOLD,
	TPOT_R_DROP_SPLICE_TTL,
	TPOT_R_DROP_SPLICE_CONGESTION,
	TPOT_R_DROP_SPLICE_TOO_BIG,
	TPOT_R_SPLICE_TOLD,
	TPOT_R_SPLICE_RESIZED,
	TPOT_R_DROP_ICMP_SPLICED,
	TPOT_R_DROP_SPLICE_NO_ROUTE,
	TPOT_R_DROP_SPLICE_FAILED,
	TPOT_R_TAP_COPIED,
	TPOT_R_TAP_LOST,
	TPOT_R_TUNNEL_BLOCKED,
	TPOT_R_TUNNEL_UDP,
	TPOT_R_TUNNEL_UDP_REMEMBERED,
	TPOT_R_RETURN_TUNNEL,
	TPOT_R_RETURN_REMEMBERED,
	TPOT_R_RETURN_GIVEN_UP,
	TPOT_R_ICMP_TRANSLATED,
	TPOT_R_ICMP_DELIVERED,
	TPOT_R_COUNT,
};

/* A connection as one direction's packets show it. IPv4 addresses are IPv4-mapped (RFC 4291 section 2.5.5.2). */
struct tpot_flow {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
};

/* Written by user space only; the policy word is read in one load. */
struct tpot_config {
	__u32 layout_version;
	enum tpot_flag flags;
	__be32 address4;
	__u32 mark;
	__be32 address6[4];
	__u16 listener_port4; /* host order; 0: no listener */
	__u16 listener_port6;
	__be16 exid;
	__be16 exid6;
	__u16 capabilities;
	__u8 option_kind;
	__u8 hops;
	__u32 syns_with_request;
	__u32 max_connections;
	__u32 max_tunnels;
	__u32 policy; /* bank in bit 31, number of rows below */
	__u32 black_hole_first_seconds;
	__u32 black_hole_max_seconds;
	__be16 udp_port; /* where tunnels in UDP end; 0: nowhere */
	__u16 unused;
	__u32 keys; /* bank in bit 31, number of keys below; 0: requests and replies have no MAC */
	__u32 max_per_client; /* 0: no limit */
};

/* The halves of a 128-bit key, as SipHash reads them (little-endian). */
struct tpot_key {
	__u64 k0;
	__u64 k1;
};

struct tpot_policy_row {
	__be32 source[4];
	__be32 source_mask[4];
	__be32 destination[4];
	__be32 destination_mask[4];
	__u16 port_from; /* host order, inclusive */
	__u16 port_to;
	enum tpot_row take;
	__u16 capabilities; /* of those a request asks for, what is accepted at most */
	__u8 family; /* 4 or 6; 0: a row without prefixes matches both */
	__u8 unused;
};

/* Whose connections are never taken, keyed by a prefix of what tpot_bypass_key holds. */
struct tpot_bypass_key {
	__u32 length;   /* in bits of what follows: `list` is whole in every key */
	__be32 list;    /* family 4 or 6, with TPOT_BYPASS_SOURCE and TPOT_BYPASS_BANK */
	__be32 address[4];
};

enum tpot_bypass_list {
	TPOT_BYPASS_SOURCE = 16, /* a prefix of sources, not of destinations */
	TPOT_BYPASS_BANK = 32,   /* the bank of tpot_config.policy */
};

#define TPOT_BYPASS_RANGES 8

struct tpot_bypass {
	__u16 ports[2 * TPOT_BYPASS_RANGES]; /* first and last destination port in turn, host order; 1, 0: unused */
};

/* Tables in which there has never been anything: said by user space when it makes them, taken back by the programs. */
enum tpot_unused {
	TPOT_UNUSED_TAKEN = 1,   /* taken and transient */
	TPOT_UNUSED_TUNNELS = 2, /* tunnels and tunnels_closed */
};

/* Fill of the tables that have no eviction, and what need not be looked into. */
struct tpot_gauges {
	__u64 taken;
	__u64 tunnels;
	enum tpot_unused unused;
	__u32 padding;
};

/* A connection this node has taken, keyed by the flow from its source. */
struct tpot_taken {
	__be32 outer_source[4]; /* the only address whose tunnel packets count (rule 7) */
	__u32 isn;              /* our initial sequence number, host order */
	enum tpot_state state;
	__u16 capabilities;
	__u8 hops;
	__u8 udp; /* the last tunnel packet came in UDP */
	__u16 mss; /* of its SYN; 0: it had none */
	__u8 keyed; /* by which key its request had a MAC, from 1: so has our reply; 0: none */
	__u8 counted; /* among the connections of its client (tpot_client.h) */
	__u32 last;         /* where the last segment with data began, */
	__u32 acknowledged; /* and what its source had acknowledged when a return tunnel began */
	__u8 again;         /* how often in a row that segment came again */
	__u8 returning;     /* the return tunnel has not been answered yet */
	__u16 unused;
};

/* A connection pinned to a next hop, or that returns to its source in a tunnel; keyed by the flow that leaves this machine. */
struct tpot_tunnel {
	__be32 remote[4];
	__be16 udp_port; /* where the node, of a return tunnel this one, takes UDP encapsulation; 0: it does not */
	__u16 capabilities;
	__u8 repeats; /* SYN-ACKs that came again; of a return tunnel: segments since it has begun, see TPOT_RETURN_MOVES */
	__u8 plain;   /* tunnels do not pass here: given up before anything was lost, or until the next try */
	__u8 udp;     /* IP in IP does not pass here: in UDP */
	__u8 answered; /* when the last SYN-ACK, of a return tunnel the last sign, came that counts: coarse_instant() */
	__u8 back;    /* a return tunnel: to the source of a connection we have taken */
	__u8 stalls;  /* of a return tunnel: signs in a row that nothing gets through this way, */
	__u16 largest; /* and the largest packet that is known to pass outside it; 0: not known */
};

/* After so many bytes a direction's base is history: see BASE_HOLDS in splice/mapping.ts. */
#define TPOT_BASE_HOLDS (1ULL << 30)

/*
 * One direction of two connections that are joined, keyed by the flow as it arrives (after decapsulation). The deltas
 * are added modulo 2^32; splice/mapping.ts says what each is, and is the reference for what is done with it.
 */
struct tpot_splice {
	struct tpot_flow out;    /* the flow it leaves as */
	__be32 outer_source[4];
	__u32 base;              /* the first sequence number that is carried; what is below was relayed */
	__u32 sequence_delta;
	__u32 acknowledgment_delta; /* SACK edges too */
	__u32 timestamp_delta;
	__u32 echo_delta;
	__u32 peer_fin;          /* as it arrives here */
	__u16 max_segment;       /* TCP header and payload that the other leg takes */
	__u8 scale_up;           /* window: what the sender's leg negotiated, */
	__u8 scale_down;         /* what this machine promised on the other leg */
	enum tpot_splice_flag flags;
	__u32 sent;              /* where the last segment ended, */
	__u32 acknowledged;      /* and what it acknowledged: both as they arrive here */
	__u32 too_big;           /* segments above `max_segment` since that was set */
	__u64 packets;
	__u64 bytes;             /* payload, what was relayed before included */
	__u64 started_ns;        /* CLOCK_MONOTONIC */
	__u64 seen_ns;           /* of the last packet */
	__u32 stalled;           /* what was sent again last, as it arrives here, */
	__u8 stalls;             /* and how often in a row */
	__u8 counted;            /* among the connections of its client (tpot_client.h) */
	__u16 unused;
};

/* A SYN with a request is out; what the answer did to it. */
struct tpot_pending {
	__u8 plain;    /* an untrusted reply came: the next SYN goes without */
	__u8 keyed;    /* the request had a MAC: the reply must have one */
	__u8 verified; /* one came that has */
	__u8 unused;
};

struct tpot_black_hole {
	__u64 until_ns; /* CLOCK_MONOTONIC */
	__u32 seconds;  /* how long this time; doubles */
	__u32 times;
};

/* What is remembered of an address for a while: a node that is reached in UDP only, a source that needs a return tunnel. */
struct tpot_episode {
	__u64 until_ns; /* CLOCK_MONOTONIC */
	__u32 seconds;  /* how long this time; doubles */
	__u32 unused;
};

struct tpot_prefix {
	__u32 length;  /* in bits of what follows: the family is whole in every prefix, so ::/0 holds no IPv4 address */
	__be32 family; /* 4 or 6 */
	__be32 address[4];
};

struct tpot_address {
	__be32 address[4];
};

/* What both sides know of one socket: written by user space before connect(), by the kernel after. */
struct tpot_socket {
	__be32 next_hop[4];       /* all zero: plain TCP */
	enum tpot_reason leg_reason; /* of a leg */
	enum tpot_origin origin;  /* of a taken connection */
	__u16 request_capabilities;
	__u16 reply_capabilities;
	__u8 request_hops;        /* a leg: to send; a taken connection: as received */
	__u8 syns;                /* SYNs sent so far */
	__u8 requests;            /* of them with the option */
	__u8 udp;                 /* the tunnel to `next_hop`, or of a taken connection, is in UDP */
};

#endif
