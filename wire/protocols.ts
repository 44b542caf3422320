/** IANA protocol numbers, which IPv6 calls next headers. */
export const PROTOCOL = {
  icmp: 1,
  ipv4: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  ipv6Fragment: 44,
  icmpv6: 58,
} as const;
